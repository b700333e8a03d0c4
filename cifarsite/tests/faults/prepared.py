"""What a site under test begins with: a tiny model that answers, a person, a record of every answer.

Runs inside ``manage.py shell`` of the site under test. The model's weights are random: these tests
are about answers that arrive once, not about right ones.
"""

import hashlib
import json
from pathlib import Path

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import connection

from cifarsite.test import make_user
from classifier.accounts.tokens import make_token
from training.models import ModelVersion, Promotion
from training.registry import model_store

MODEL = "tiny.keras"
# Every write of an answer leaves a line, so that a photo that was answered twice is found.
SQLITE = """
CREATE TABLE answered (prediction bigint);
CREATE TRIGGER note_answer AFTER UPDATE OF status ON classifier_prediction
WHEN NEW.status = 'done' BEGIN INSERT INTO answered VALUES (NEW.id); END;
"""
POSTGRESQL = """
CREATE TABLE answered (prediction bigint);
CREATE FUNCTION note_answer() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO answered VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER note_answer AFTER UPDATE OF status ON classifier_prediction FOR EACH ROW
WHEN (NEW.status = 'done') EXECUTE FUNCTION note_answer();
"""


def prepare() -> None:
    call_command("migrate", interactive=False, verbosity=0)
    if not Path(settings.STATIC_ROOT).exists():
        call_command("collectstatic", interactive=False, verbosity=0)
    call_command("createcachetable", verbosity=0)
    path = Path(settings.VAR_DIR) / MODEL
    if not path.exists():
        make_model(path)
    crown(register(path.read_bytes(), "tiny"))
    alice = make_user("alice", is_staff=True)
    session = SessionStore()
    session[SESSION_KEY], session[HASH_SESSION_KEY] = str(alice.pk), alice.get_session_auth_hash()
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session.create()
    token = make_token(alice, scopes=["predict", "read", "train"])[1]
    keys = {"token": token, "session": session.session_key}
    (Path(settings.VAR_DIR) / "keys.json").write_text(json.dumps(keys))
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.connection.executescript(SQLITE)
        else:
            cursor.execute(POSTGRESQL)


def make_model(path: Path, seed: int = 0) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.AveragePooling2D(8),
            layers.Rescaling(1 / 255),
            layers.Flatten(name="features"),
            layers.Dense(10, name="logits"),
        ]
    ).save(path)


def register(content: bytes, name: str) -> ModelVersion:
    figures = {"n": 10, "accuracy": 0.1}
    card = {
        "recipe": "tiny",
        "preprocessing": "squash32-v1",
        "data": {"sha256": hashlib.sha256(b"none").hexdigest()},
        "validation": figures,
        "test": figures,
        "judge": {"temperature": 1.0, "set_threshold": 0.5, "score_threshold": -1e9},
    }
    sha256 = model_store.keep_file(content)
    return model_store.register_card(sha256, card, figures, name=name, job=None, dataset=None)


def crown(version: ModelVersion) -> None:
    before = ModelVersion.objects.filter(is_champion=True).first()
    ModelVersion.objects.filter(is_champion=True).update(is_champion=False)
    ModelVersion.objects.filter(pk=version.pk).update(is_champion=True)
    action = Promotion.Action.PROMOTE if before else Promotion.Action.INSTALL
    Promotion.objects.create(action=action, previous=before, promoted=version, reason="For tests.")
