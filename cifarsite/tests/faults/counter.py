"""One of several processes that read a number, add one, and write it: run by ``manage.py shell``."""

import os

from django.db import transaction

from classifier.models import RateCount


def count(times: int) -> None:
    for _number in range(times):
        with transaction.atomic():
            row = RateCount.objects.get(key="writers")
            row.count += 1
            row.save()
    print("done", os.getpid())
