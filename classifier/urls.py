from django.urls import path

from classifier import token_pages, views

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
    path("account/", views.account, name="account"),
    path("account/tokens/", token_pages.token_make, name="token-make"),
    path("account/tokens/<int:pk>/revoke/", token_pages.token_revoke, name="token-revoke"),
    path("language/", views.language, name="language"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("manifest.webmanifest", views.manifest, name="manifest"),
]
