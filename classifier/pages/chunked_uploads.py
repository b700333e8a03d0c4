"""An archive in pieces: begin, ask how far it is, send the next piece, finish. JSON for the batch page."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, JsonResponse, UnreadablePostError
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from cifarsite.core.pages import whole_number
from classifier.accounts import audit, rate_limits
from classifier.models import ArchiveUpload
from classifier.pages.batches import STATUS_OF, SignedInRequest
from classifier.photos import projects
from classifier.uploads import chunked
from classifier.uploads.errors import Rejected


@login_required
@require_POST
def upload_begin(request: SignedInRequest) -> HttpResponse:
    """Name, size and fingerprint of an archive: where to send it, and from which byte on."""
    if response := too_often(request):
        return response
    try:
        project = projects.project_for_upload(request.user, request.POST.get("project", ""))
        upload = chunked.begin(
            request.user,
            filename=request.POST.get("filename", ""),
            size=whole_number(request.POST.get("size", "")) or 0,
            fingerprint=request.POST.get("fingerprint", ""),
            project=project.pk,
        )
    except (projects.NoModel, Rejected) as refusal:
        return refuse(request, refusal)
    projects.remember(request, project)
    return JsonResponse({"id": upload.pk, "piece": chunked.PIECE_BYTES, **place(upload.received)}, status=201)


@login_required
@require_http_methods(["GET", "HEAD", "PATCH", "DELETE"])
@never_cache
def upload_piece(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """GET: how many bytes there are. PATCH: the next ones. DELETE: forget them."""
    upload = own_upload(request, pk)
    if request.method == "DELETE":
        chunked.remove(upload)
        return HttpResponse(status=204)
    if request.method != "PATCH":
        return JsonResponse(place(upload.received))
    if response := too_often(request):
        return response
    offset, length = request.headers.get("Upload-Offset", ""), request.headers.get("Content-Length", "")
    try:
        content = request.read(chunked.PIECE_BYTES + 1)
    except UnreadablePostError:
        content = b""
    if not (offset.isdecimal() and len(offset) < 20) or length != str(len(content)):
        return JsonResponse(place(upload.received), status=409)  # broken off: the same piece again
    try:
        return JsonResponse(place(chunked.append(upload, int(offset), content)))
    except chunked.WrongOffset as wrong:
        return JsonResponse(place(wrong.received), status=409)
    except Rejected as refusal:
        return refuse(request, refusal)


@login_required
@require_POST
def upload_finish(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """All bytes are there: make a batch of them."""
    upload = own_upload(request, pk)
    if response := too_often(request):
        return response
    try:
        projects.project_for_upload(request.user, upload.project_id)  # it may have been closed meanwhile
        batch = chunked.finish(
            upload,
            truth=request.FILES.get("truth"),
            folders_are_truth=bool(request.POST.get("folders_are_truth")),
        )
    except chunked.WrongOffset as wrong:
        return JsonResponse(place(wrong.received), status=409)
    except (projects.NoModel, Rejected) as refusal:
        return refuse(request, refusal)
    return JsonResponse({"url": batch.get_absolute_url(), "error": None}, status=201)


def own_upload(request: SignedInRequest, pk: UUID) -> ArchiveUpload:
    found = chunked.find(request.user, pk)
    if found is None:
        raise Http404(_("This upload has finished, or was idle for a day. Start again."))
    return found


def place(received: int) -> dict[str, int]:
    return {"offset": received}


def too_often(request: SignedInRequest) -> HttpResponse | None:
    """Pieces count as requests; the page's script waits as long as this says."""
    wait = rate_limits.seconds_to_wait(request)
    if not wait:
        return None
    sentence = _("You send requests too often.")
    error = {"code": "rate", "detail": f"{sentence} {rate_limits.wait_in_words(wait)}"}
    return JsonResponse({"url": None, "error": error}, status=429, headers={"Retry-After": str(wait)})


def refuse(request: SignedInRequest, refusal: Rejected | projects.NoModel) -> JsonResponse:
    if isinstance(refusal, Rejected):
        audit.record_refusal("upload_refused", by=request.user, detail=refusal.code, request=request)
    error = {"code": refusal.code, "detail": str(getattr(refusal, "detail", refusal))}
    return JsonResponse({"url": None, "error": error}, status=STATUS_OF.get(refusal.code, 400))
