"""Vietnamese: Django's dates begin with 'Ngày', a capital inside a sentence; its numbers are not grouped."""

DATE_FORMAT = r"j \t\h\á\n\g n \n\ă\m Y"
DATETIME_FORMAT = r"H:i, j \t\h\á\n\g n \n\ă\m Y"
NUMBER_GROUPING = 3
MONTH_DAY_FORMAT = r"j \t\h\á\n\g n"
