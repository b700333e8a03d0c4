from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from classifier.pages import organisations

admin.autodiscover()
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
# The site's own form counts wrong passwords, sends a mail and leaves a line in the audit log.
own_password = RedirectView.as_view(pattern_name="account_change_password")
admin.site.password_change = own_password  # type: ignore[method-assign, assignment]
admin.site.site_header = admin.site.site_title = "cifarsite"

handler500 = "classifier.pages.refusals.error_page"

urlpatterns = [
    path("", include("classifier.urls")),
    path("", include("training.urls")),
    path("api/", include("classifier.api.urls")),
    # Before django-allauth's own of the same addresses.
    path("accounts/oidc/<slug:provider_id>/login/", organisations.start, name="organisation-start"),
    path(
        "accounts/oidc/<slug:provider_id>/login/callback/", organisations.finish, name="organisation-finish"
    ),
    # Nothing leads there, and without a sign-in under way it has nothing to say.
    path("accounts/3rdparty/login/error/", RedirectView.as_view(pattern_name="account_login")),
    path("accounts/", include("allauth.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
]
