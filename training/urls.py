from django.urls import include, path, re_path

from training.pages import cifar10, jobs, models, project_images, projects, reliability

app_name = "training"
urlpatterns = [
    path("models/", models.models_page, name="models"),
    path("models/rollback/", models.models_roll_back, name="models-roll-back"),
    path("models/<int:pk>/", models.model_page, name="model"),
    path("models/<int:pk>/curve.json", models.model_curve, name="model-curve"),
    path("models/<int:pk>/download/", models.model_download, name="model-download"),
    path("models/<int:pk>/notes/", models.model_notes, name="model-notes"),
    path("models/<int:pk>/promote/", models.model_promote, name="model-promote"),
    path("models/<int:pk>/", include("training.pages.report_urls")),
    path("verdicts/", reliability.verdicts, name="verdicts"),
    path("projects/", projects.projects_page, name="projects"),
    path("projects/<slug:slug>/", projects.project_page, name="project"),
    path("projects/<slug:slug>/change/", projects.project_change, name="project-change"),
    path("projects/<slug:slug>/delete/", projects.project_delete, name="project-delete"),
    path("projects/<slug:slug>/classes/", projects.classes_change, name="classes-change"),
    path("projects/<slug:slug>/classes/<int:pk>/", projects.class_change, name="class-change"),
    path("projects/<slug:slug>/images/", project_images.images_change, name="images-change"),
    path("projects/<slug:slug>/images/<uuid:pk>/", project_images.image_file, name="project-image"),
    path("training/", jobs.jobs_page, name="jobs"),
    path("training/cifar10/", cifar10.cifar10_page, name="cifar10"),
    path("training/cifar10/live/", cifar10.cifar10_live, name="cifar10-live"),
    path("training/cifar10/<int:pk>/cancel/", cifar10.cifar10_cancel, name="cifar10-cancel"),
    path("training/schedule/", jobs.schedule_change, name="schedule"),
    path("training/<int:pk>/", jobs.job_page, name="job"),
    path("training/<int:pk>/live/", jobs.job_live, name="job-live"),
    path("training/<int:pk>/epochs.json", jobs.job_epochs, name="job-epochs"),
    path("training/<int:pk>/history.json", jobs.job_history, name="job-history"),
    re_path(
        r"^training/(?P<pk>[0-9]{1,18})/(?P<verb>cancel|stop|resume|retry)/$",
        jobs.job_change,
        name="job-change",
    ),
]
