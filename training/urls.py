from django.urls import include, path, re_path

from training import model_views, trust_views, views

app_name = "training"
urlpatterns = [
    path("models/", model_views.models_page, name="models"),
    path("models/rollback/", model_views.models_roll_back, name="models-roll-back"),
    path("models/<int:pk>/", model_views.model_page, name="model"),
    path("models/<int:pk>/curve.json", model_views.model_curve, name="model-curve"),
    path("models/<int:pk>/download/", model_views.model_download, name="model-download"),
    path("models/<int:pk>/notes/", model_views.model_notes, name="model-notes"),
    path("models/<int:pk>/promote/", model_views.model_promote, name="model-promote"),
    path("models/<int:pk>/", include("training.report_urls")),
    path("verdicts/", trust_views.verdicts, name="verdicts"),
    path("training/", views.jobs_page, name="jobs"),
    path("training/schedule/", views.schedule_change, name="schedule"),
    path("training/<int:pk>/", views.job_page, name="job"),
    path("training/<int:pk>/live/", views.job_live, name="job-live"),
    path("training/<int:pk>/epochs.json", views.job_epochs, name="job-epochs"),
    path("training/<int:pk>/history.json", views.job_history, name="job-history"),
    re_path(
        r"^training/(?P<pk>[0-9]{1,18})/(?P<verb>cancel|stop|resume|retry)/$",
        views.job_change,
        name="job-change",
    ),
]
