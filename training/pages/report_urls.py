from django.urls import path

from training.pages import report_downloads, reports

urlpatterns = [
    path("report/", reports.report, name="report"),
    path("report/images/", reports.report_images, name="report-images"),
    path("report/images/<int:row>/", reports.report_image, name="report-image"),
    path("report/sheet.png", reports.report_sheet, name="report-sheet"),
    path("report/data.png", reports.report_data, name="report-data"),
    path("report/points.json", reports.report_points, name="report-points"),
    path("report/report.json", report_downloads.report_json, name="report-json"),
    path("report/predictions.csv", report_downloads.report_predictions, name="report-predictions"),
    path("report/card.md", report_downloads.report_card, name="report-card"),
    path("report/figures/<slug:name>.svg", report_downloads.report_figure, name="report-figure"),
    path("report/<slug:part>/", reports.report, name="report-part"),
    path("compare/", reports.choose_comparison, name="choose-comparison"),
    path("compare/<int:other>/", reports.compare_page, name="compare"),
]
