from django.urls import path

from classifier import batch_views, token_views, views

app_name = "classifier"
urlpatterns = [
    path("", views.upload, name="upload"),
    path("photos/<uuid:pk>/", views.photo, name="photo"),
    path("photos/<uuid:pk>/status/", views.photo_status, name="photo-status"),
    path("photos/<uuid:pk>/image/", views.photo_file, {"kind": "display"}, name="photo-image"),
    path("photos/<uuid:pk>/thumbnail/", views.photo_file, {"kind": "thumbnail"}, name="photo-thumbnail"),
    path("photos/<uuid:pk>/input/", views.photo_input, name="photo-input"),
    path("photos/<uuid:pk>/delete/", views.photo_delete, name="photo-delete"),
    path("photos/<uuid:pk>/restore/", views.photo_restore, name="photo-restore"),
    path("history/", views.history_page, name="history"),
    path("history/delete/", views.history_delete, name="history-delete"),
    path("history/restore/", views.history_restore, name="history-restore"),
    path("batches/", batch_views.batches_page, name="batches"),
    path("batches/<uuid:pk>/", batch_views.batch_page, name="batch"),
    path("batches/<uuid:pk>/status/", batch_views.batch_status, name="batch-status"),
    path("batches/<uuid:pk>/results.csv", batch_views.batch_csv, name="batch-results-csv"),
    path("batches/<uuid:pk>/results.jsonl", batch_views.batch_jsonl, name="batch-results-jsonl"),
    path("batches/<uuid:pk>/pause/", batch_views.batch_act, {"act": "pause"}, name="batch-pause"),
    path("batches/<uuid:pk>/resume/", batch_views.batch_act, {"act": "resume"}, name="batch-resume"),
    path("batches/<uuid:pk>/cancel/", batch_views.batch_act, {"act": "cancel"}, name="batch-cancel"),
    path("batches/<uuid:pk>/retry/", batch_views.batch_act, {"act": "retry"}, name="batch-retry"),
    path("account/", views.account, name="account"),
    path("account/tokens/", token_views.token_make, name="token-make"),
    path("account/tokens/<int:pk>/revoke/", token_views.token_revoke, name="token-revoke"),
    path("language/", views.language, name="language"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("manifest.webmanifest", views.manifest, name="manifest"),
]
