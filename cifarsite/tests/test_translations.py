"""The Vietnamese texts are complete, compiled, and what a Vietnamese browser gets."""

import ast
import gettext
import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext_noop as _
from django.utils.translation import ngettext_lazy, override, pgettext_lazy
from django.utils.translation.template import templatize

from cifarsite.test import PASSWORD, SiteTestCase
from conftest import ROOT

CATALOGUE = ROOT / "locale/vi/LC_MESSAGES/django.po"
PYTHON_FOLDERS = ("cifarsite", "classifier", "training")
MARKERS = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy"}
STRING = r"""u?("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
CALL = re.compile(rf"\b(?:n?gettext|_)\({STRING}")
FIELD = re.compile(r'(msgid|msgid_plural|msgstr(?:\[\d+\])?|msgctxt) (".*")')
PLACEHOLDER = re.compile(r"%\(\w+\)[-.\d]*[a-z]|%%|%[sdr]|\{\w+\}|<[^>]+>")

# allauth brings no Vietnamese. Listed here, makemessages finds what its pages and mails say.
ALLAUTH = (
    _("This account is currently inactive."),
    _("You cannot remove your primary email address."),
    _("This email address is already associated with this account."),
    _("The email address and/or password you specified are not correct."),
    _("A user is already registered with this email address."),
    _("Please type your current password."),
    _("Incorrect code."),
    _("Incorrect password."),
    _("Invalid or expired key."),
    _("Invalid login."),
    _("The password reset token was invalid."),
    _("You cannot add more than %d email addresses."),
    _("Too many failed login attempts. Try again later."),
    _("The email address is not assigned to any user account."),
    _("Your primary email address must be verified."),
    _("Username can not be used. Please use other username."),
    _("The username and/or password you specified are not correct."),
    _("The new value must be different from the current one."),
    _("Be patient, you are sending too many requests."),
    _("Use your password"),
    _("Use authenticator app or code"),
    _("Use a security key"),
    _("Accounts"),
    _("Email"),
    _("Email address"),
    _("You must type the same password each time."),
    _("Remember Me"),
    _("Username"),
    pgettext_lazy("field label", "Login"),
    _("Username or email"),
    _("Forgot your password?"),
    _("Password (again)"),
    _("Current Password"),
    _("New Password"),
    _("New Password (again)"),
    _("Code"),
    _("email address"),
    _("verified"),
    _("primary"),
    _("email addresses"),
    _("created"),
    _("sent"),
    _("email confirmation"),
    _("email confirmations"),
    _("You cannot add an email address to an account protected by two-factor authentication."),
    _("You cannot deactivate two-factor authentication."),
    _("You cannot generate recovery codes without having two-factor authentication enabled."),
    _("You cannot activate two-factor authentication until you have verified your email address."),
    _("Master key"),
    _("Backup key"),
    _("Key nr. {number}"),
    _("Recovery codes"),
    _("TOTP Authenticator"),
    _("Authenticator code"),
    _("Passwordless"),
    _(
        "Enabling passwordless operation allows you to sign in using just this key, but "
        "imposes additional requirements such as biometrics or PIN protection."
    ),
    _("Key"),
    _("Account Inactive"),
    _("This account is inactive."),
    _("Confirm"),
    _("Confirm Access"),
    _("Please reauthenticate to safeguard your account."),
    _("Alternative options"),
    _("Sign In"),
    _("Password Reset"),
    _("Email Addresses"),
    _("The following email addresses are associated with your account:"),
    _("Verified"),
    _("Unverified"),
    _("Primary"),
    _("Make Primary"),
    _("Re-send Verification"),
    _("Remove"),
    _("Add Email Address"),
    _("Add Email"),
    _("Do you really want to remove the selected email address?"),
    _(
        "You are receiving this email because you or someone else tried to signup for an\n"
        "account using email address:\n\n%(email)s\n\nHowever, an account using that email "
        "address already exists.  In case you have\nforgotten about this, please use the "
        "password forgotten procedure to recover\nyour account:\n\n%(password_reset_url)s"
    ),
    _("Account Already Exists"),
    _("Hello from %(site_name)s!"),
    _("Thank you for using %(site_name)s!\n%(site_domain)s"),
    _("You are receiving this mail because the following change was made to your account:"),
    _(
        "If you do not recognize this change then please take proper security precautions "
        "immediately. The change to your account originates from:\n\n- IP address: %(ip)s\n- "
        "Browser: %(user_agent)s\n- Date: %(timestamp)s"
    ),
    _("Your email has been changed from %(from_email)s to %(to_email)s."),
    _("Email Changed"),
    _("Your email has been confirmed."),
    _("Email Confirmation"),
    _(
        "You're receiving this email because user %(user_display)s has given your email "
        "address to register an account on %(site_domain)s."
    ),
    _("To confirm this is correct, go to %(activate_url)s"),
    _("Please Confirm Your Email Address"),
    _("Email address %(deleted_email)s has been removed from your account."),
    _("Email Removed"),
    _("This mail can be safely ignored if you did not initiate this action."),
    _("Your password has been changed."),
    _("Password Changed"),
    _(
        "You're receiving this email because you or someone else has requested a password "
        "reset for your user account.\nIt can be safely ignored if you did not request a "
        "password reset. Click the link below to reset your password."
    ),
    _("In case you forgot, your username is %(username)s."),
    _("Password Reset Email"),
    _("Your password has been reset."),
    _(
        "You are receiving this email because you, or someone else, tried to access an account "
        "with email %(email)s. However, we do not have any record of such an account in our "
        "database."
    ),
    _("If it was you, you can sign up for an account using the link below."),
    _("Unknown Account"),
    _("Confirm Email Address"),
    _(
        'Please confirm that <a href="mailto:%(email)s">%(email)s</a> is an email address '
        "for user %(user_display)s."
    ),
    _("Unable to confirm %(email)s because it is already confirmed by a different account."),
    _(
        "This email confirmation link expired or is invalid. Please <a "
        'href="%(email_url)s">issue a new email confirmation request</a>.'
    ),
    _("Sign Out"),
    _("Are you sure you want to sign out?"),
    _("You cannot remove your primary email address (%(email)s)."),
    _("Confirmation email sent to %(email)s."),
    _("You have confirmed %(email)s."),
    _("Removed email address %(email)s."),
    _("Successfully signed in as %(name)s."),
    _("You have signed out."),
    _("Password successfully changed."),
    _("Password successfully set."),
    _("Primary email address set."),
    _("Change Password"),
    _("Forgot Password?"),
    _(
        "Forgotten your password? Enter your email address below, and we'll send you an email "
        "allowing you to reset it."
    ),
    _("Reset My Password"),
    _("Please contact us if you have any trouble resetting your password."),
    _("Bad Token"),
    _(
        "The password reset link was invalid, possibly because it has already been used.  "
        'Please request a <a href="%(passwd_reset_url)s">new password reset</a>.'
    ),
    _("Your password is now changed."),
    _("Set Password"),
    _("Enter your password:"),
    _("Other sign-in options"),
    _("Signup"),
    _("Sign Up"),
    _("Note"),
    _("You are already logged in as %(user_display)s."),
    _("Warning:"),
    _(
        "You currently do not have any email address set up. You should really add an email "
        "address so you can receive notifications, reset your password, etc."
    ),
    _("Verify Your Email Address"),
    _("Messages:"),
    _("Menu:"),
    _("Two-Factor Authentication"),
    _("Sessions"),
    _("Your account is protected by two-factor authentication. Please enter an authenticator code:"),
    _("A new set of Two-Factor Authentication recovery codes has been generated."),
    _("New Recovery Codes Generated"),
    _("Authenticator app activated."),
    _("Authenticator App Activated"),
    _("Authenticator app deactivated."),
    _("Authenticator App Deactivated"),
    _("A new security key has been added."),
    _("Security Key Added"),
    _("A security key has been removed."),
    _("Security Key Removed"),
    _("Authenticator App"),
    _("Authentication using an authenticator app is active."),
    _("An authenticator app is not active."),
    _("Deactivate"),
    _("Activate"),
    _("Security Keys"),
    ngettext_lazy(
        "You have added %(count)s security key.",
        "You have added %(count)s security keys.",
    ),
    _("No security keys have been added."),
    _("Manage"),
    _("Add"),
    _("Recovery Codes"),
    ngettext_lazy(
        "There is %(unused_count)s out of %(total_count)s recovery codes available.",
        "There are %(unused_count)s out of %(total_count)s recovery codes available.",
    ),
    _("No recovery codes set up."),
    _("View"),
    _("Generate"),
    _("A new set of recovery codes has been generated."),
    _("Save them  in a secure location now — they won't be shown again."),
    _("Security key added."),
    _("Security key removed."),
    _("Enter an authenticator code:"),
    _("You are about to generate a new set of recovery codes for your account."),
    _("This action will invalidate your existing codes."),
    _("Unused codes"),
    _("Download codes"),
    _("Generate new codes"),
    _("I have saved my recovery codes"),
    _("Activate Authenticator App"),
    _(
        "To protect your account with two-factor authentication, scan the QR code below with "
        "your authenticator app. Then, input the verification code generated by the app below."
    ),
    _("Authenticator secret"),
    _("You can store this secret and use it to reinstall your authenticator app at a later time."),
    _("Deactivate Authenticator App"),
    _("You are about to deactivate authenticator app based authentication. Are you sure?"),
    _("Add Security Key"),
    _("Remove Security Key"),
    _("Are you sure you want to remove this security key?"),
    _("Usage"),
    _("Passkey"),
    _("Security key"),
    _("This key does not indicate whether it is a passkey."),
    _("Unspecified"),
    _("Added on %(created_at)s"),
    _("Last used %(last_used)s"),
    _("Edit"),
    _("Edit Security Key"),
    _("This functionality requires JavaScript."),
    _("Signed out of all other sessions."),
    _("Started At"),
    _("IP Address"),
    _("Browser"),
    _("Last seen at"),
    _("Current"),
    _("Sign Out Other Sessions"),
    _("User Sessions"),
    _("session key"),
)

# What Django's own Vietnamese lacks and the site or its administration shows.
DJANGO = (
    ngettext_lazy("%(num)d year", "%(num)d years"),
    ngettext_lazy("%(num)d month", "%(num)d months"),
    ngettext_lazy("%(num)d week", "%(num)d weeks"),
    ngettext_lazy("%(num)d day", "%(num)d days"),
    ngettext_lazy("%(num)d hour", "%(num)d hours"),
    ngettext_lazy("%(num)d minute", "%(num)d minutes"),
    ngettext_lazy(
        "This password is too short. It must contain at least %d character.",
        "This password is too short. It must contain at least %d characters.",
    ),
    _("Enter a valid UUID."),
    _("Enter a valid JSON."),
    _("Value must be valid JSON."),
    _("Null characters are not allowed."),
    _(
        "Enter a valid username. This value may contain only unaccented lowercase a-z and "
        "uppercase A-Z letters, numbers, and @/./+/-/_ characters."
    ),
    _("Model name"),
    _("Add link"),
    _("Change or view list link"),
    _("Skip to main content"),
    _("Breadcrumbs"),
    _("Error:"),
    _("Set password"),
    _("Reset password"),
    _("Hide counts"),
    _("Show counts"),
    _("Toggle theme (current theme: auto)"),
    _("Toggle theme (current theme: light)"),
    _("Toggle theme (current theme: dark)"),
    _("Toggle navigation"),
    _("Sidebar"),
    _("Filter navigation items"),
    _("View selected %(model)s"),
    _("Select all objects on this page for an action"),
    _("Select this object for an action - {}"),
    _("Added:"),
    _("Changed:"),
    _("Deleted:"),
    _("Duration"),
    _("A JSON object"),
)

Entry = dict[str, str]


def entries() -> list[Entry]:
    """The catalogue's entries but its header: field to text, and `flags` where there are any."""
    found = []
    for block in CATALOGUE.read_text(encoding="utf-8").split("\n\n"):
        entry: Entry = {}
        field = ""
        for line in block.splitlines():
            if line.startswith("#,"):
                entry["flags"] = line
            elif match := FIELD.fullmatch(line):
                field = match[1]
                entry[field] = ast.literal_eval(match[2])
            elif line.startswith('"'):
                entry[field] += ast.literal_eval(line)
        if entry.get("msgid"):
            found.append(entry)
    return found


def texts_of(entry: Entry) -> list[str]:
    return [text for field, text in entry.items() if field.startswith("msgstr")]


def python_texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKERS:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def unformatted_percent_signs(path: Path) -> Iterator[str]:
    """Texts with a doubled sign that nothing halves: no values are put in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    formatted = {node.left for node in ast.walk(tree) if isinstance(node, ast.BinOp)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKERS:
            first = node.args[0]
            text = first.value if isinstance(first, ast.Constant) else ""
            if "%%" in str(text) and "%(" not in str(text) and node not in formatted:
                yield f"{path.relative_to(ROOT)}: {text!r}"


def template_texts(path: Path) -> Iterator[str]:
    """What `makemessages` would see: Django rewrites a template as calls of gettext."""
    for match in CALL.finditer(templatize(path.read_text(encoding="utf-8"))):
        yield ast.literal_eval(match[1])


def source_texts() -> dict[str, Path]:
    """Every text that the site marks for translation, and one file it is in."""
    found = {}
    for folder in PYTHON_FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if "tests" not in path.parts:
                found.update({text: path.relative_to(ROOT) for text in python_texts(path)})
    for path in (ROOT / "templates").rglob("*.*"):
        if path.suffix in (".html", ".txt"):
            found.update({text: path.relative_to(ROOT) for text in template_texts(path)})
    borrowed = Path(__file__)
    found.update({text: borrowed.relative_to(ROOT) for text in python_texts(borrowed)})
    return found


def test_every_text_of_the_site_is_translated():
    translated = {entry["msgid"] for entry in entries() if all(texts_of(entry))}
    sources = source_texts()
    assert len(sources) > 500, "the search for texts is broken"
    missing = [f"{path}: {text!r}" for text, path in sources.items() if text not in translated]
    assert not missing, "run makemessages -l vi and translate:\n" + "\n".join(sorted(missing))


def test_doubled_percent_signs_are_in_texts_that_are_formatted():
    files = [path for folder in PYTHON_FOLDERS for path in (ROOT / folder).rglob("*.py")]
    assert [
        text for path in files if "tests" not in path.parts for text in unformatted_percent_signs(path)
    ] == []


def test_spans_of_time_are_vietnamese():
    with override("vi"):
        now = timezone.now()
        assert timesince(now - timedelta(hours=3), now) == "3\N{NO-BREAK SPACE}giờ"


def test_no_translation_is_empty_or_fuzzy():
    assert [entry["msgid"] for entry in entries() if not all(texts_of(entry)) or not texts_of(entry)] == []
    assert [entry["msgid"] for entry in entries() if "fuzzy" in entry.get("flags", "")] == []


def test_each_translation_keeps_the_placeholders():
    for entry in entries():
        wanted = Counter(PLACEHOLDER.findall(entry.get("msgid_plural", entry["msgid"])))
        for text in texts_of(entry):
            assert Counter(PLACEHOLDER.findall(text)) == wanted, entry["msgid"]


def test_the_compiled_catalogue_is_that_of_the_text_file():
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for entry in entries():
        if "msgid_plural" in entry:
            text = compiled.ngettext(entry["msgid"], entry["msgid_plural"], 2)
        elif "msgctxt" in entry:
            text = compiled.pgettext(entry["msgctxt"], entry["msgid"])
        else:
            text = compiled.gettext(entry["msgid"])
        assert texts_of(entry) == [text], f"run compilemessages: {entry['msgid']!r}"


class VietnameseTests(SiteTestCase):
    def test_a_vietnamese_browser_gets_the_first_page_in_vietnamese(self) -> None:
        page = self.client.get("/", headers={"Accept-Language": "vi"})
        self.assertContains(page, '<html lang="vi"')
        self.assertContains(page, "Trong ảnh của bạn có thứ nào trong mười thứ?")

    def test_a_vietnamese_browser_gets_the_sign_in_page_in_vietnamese(self) -> None:
        page = self.client.get("/accounts/login/", headers={"Accept-Language": "vi"})
        self.assertContains(page, '<html lang="vi"')
        self.assertContains(page, "Chưa có tài khoản?")
        self.assertContains(page, "Quên mật khẩu?")
        self.assertNotContains(page, "Remember Me")

    def test_an_english_browser_gets_english(self) -> None:
        page = self.client.get("/", headers={"Accept-Language": "en"})
        self.assertContains(page, '<html lang="en"')
        self.assertContains(page, "Which of ten things is in your photo?")

    def test_counted_texts_and_classes_are_vietnamese(self) -> None:
        self.upload()
        self.client.login(username="alice", password=PASSWORD)
        page = self.client.get("/history/", headers={"Accept-Language": "vi"})
        self.assertContains(page, "Lịch sử")
        self.assertContains(page, "máy bay")
