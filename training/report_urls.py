from django.urls import path

from training import report_downloads, report_views

urlpatterns = [
    path("report/", report_views.report, name="report"),
    path("report/images/", report_views.report_images, name="report-images"),
    path("report/images/<int:row>/", report_views.report_image, name="report-image"),
    path("report/sheet.png", report_views.report_sheet, name="report-sheet"),
    path("report/data.png", report_views.report_data, name="report-data"),
    path("report/points.json", report_views.report_points, name="report-points"),
    path("report/report.json", report_downloads.report_json, name="report-json"),
    path("report/predictions.csv", report_downloads.report_predictions, name="report-predictions"),
    path("report/card.md", report_downloads.report_card, name="report-card"),
    path("report/figures/<slug:name>.svg", report_downloads.report_figure, name="report-figure"),
    path("compare/", report_views.choose_comparison, name="choose-comparison"),
    path("compare/<int:other>/", report_views.compare_page, name="compare"),
]
