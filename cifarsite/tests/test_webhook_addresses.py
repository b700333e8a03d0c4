"""Which addresses webhooks may call."""

from __future__ import annotations

from django.test import SimpleTestCase, override_settings

from cifarsite.core import webhooks
from cifarsite.core.webhooks import WebhookRefused, read_address
from cifarsite.tests.webhook_receiver import ON


@ON
class AddressTests(SimpleTestCase):
    def test_private_and_special_addresses_are_refused(self) -> None:
        for host in (
            "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
            "224.0.0.1", "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[::ffff:0:a00:1]",
            "[64:ff9b:1::7f00:1]", "[2001:0:7f00:1::]", "[100::1]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]",
        ):  # fmt: skip
            with self.subTest(host), self.assertRaisesMessage(WebhookRefused, "private network"):
                read_address(f"https://{host}/hook")

    def test_public_addresses_of_ipv6_are_called(self) -> None:
        self.assertEqual(read_address("https://[2606:4700:4700::1111]/hook").host, "2606:4700:4700::1111")

    def test_a_name_that_stands_for_a_private_address_is_refused_when_it_is_called(self) -> None:
        address = read_address("https://localhost/hook")
        with self.assertRaisesMessage(WebhookRefused, "private network"):
            webhooks._resolve(address, for_staff=True)

    def test_numbers_that_only_look_like_names_are_looked_up_before_they_are_believed(self) -> None:
        for host in ("2130706433", "0x7f.1", "017700000001", "127.1"):
            with self.subTest(host), self.assertRaises((WebhookRefused, webhooks.NotDelivered)):
                webhooks._resolve(read_address(f"https://{host}/"), for_staff=True)

    def test_what_is_no_address_is_refused(self) -> None:
        for url in (
            "ftp://example.org/", "example.org", "https://", "https://user:word@example.org/", "https://[::1",
            "https://example.org/a b", "https://example.org/\r\nHost: x", "https://example.org:99999/",
            "https://example.org/" + "a" * 500, "file:///etc/passwd", "https://a..example.org/",
            "https://.example.org/", f"https://{'a' * 64}.example.org/",
        ):  # fmt: skip
            with self.subTest(url), self.assertRaises(WebhookRefused):
                read_address(url)

    def test_plain_http_is_for_hosts_of_ones_own(self) -> None:
        with self.assertRaisesMessage(WebhookRefused, "https"):
            read_address("http://example.org/hook")
        with override_settings(WEBHOOK_PRIVATE_HOSTS=["hooks.internal"]):
            self.assertEqual(read_address("http://hooks.internal:8080/x").port, 8080)
        self.assertEqual(read_address("https://example.org").target, "/")
