/*
 * No open relay (goal G16): every way to write an address that has ever made a server relay, to every listener without a
 * login. The right to relay comes from the listener and the login, never from the shape of an address.
 */
#include "talk.h"

struct form {
    const char *before;
    const char *after;
};

/* Where a domain stands between the two, it is one that is not ours. */
static const struct form forms[] = {
    {"<victim@", ">"},
    {"<VICTIM@", ">"},
    {" <victim@", "> "},
    {"<victim+tag@", ">"},
    {"<\"victim\"@", ">"},
    {"<\"vic tim\"@", ">"},
    {"<\"vic\\tim\"@", ">"},
    {"<victim%", "@here.example>"},
    {"<victim%", ">"},
    {"<victim%", "%relay.example@here.example>"},
    {"<victim%", "@[127.0.0.1]>"},
    {"<victim%", "@localhost>"},
    {"<victim%", "@mx.here.example>"},
    {"<\"victim%", "\"@here.example>"},
    {"<\"victim%", "\">"},
    {"<\"victim@", "\"@here.example>"},
    {"<\"victim@", "\">"},
    {"<\"victim\\@", "\"@here.example>"},
    {"<victim\\@", "@here.example>"},
    {"<victim@", "@here.example>"},
    {"<victim@", "%here.example>"},
    {"<victim@", "\\@here.example>"},
    {"<victim@", "@>"},
    {"<", "!victim@here.example>"},
    {"<", "!victim>"},
    {"<here.example!", "!victim@here.example>"},
    {"<here.example!", "!victim>"},
    {"<\"", "!victim\"@here.example>"},
    {"<here.example!victim@", ">"},
    {"<@here.example:victim@", ">"},
    {"<@here.example,@relay.example:victim@", ">"},
    {"<@[127.0.0.1]:victim@", ">"},
    {"<@localhost:victim@", ">"},
    {"<@", ":victim@here.example@here.example>"},
    {"<@here.example,@", ">"},
    {"<@here.example:@", ":victim@here.example>"},
    {"<@here.example:\"victim@", "\"@here.example>"},
    {"<@here.example:victim%", "@here.example>"},
    {"victim@", ""},
    {"<<victim@", ">>"},
    {"<victim@", ",b@here.example>"},
    {"<b@here.example,victim@", ">"},
    {"<b@here.example;victim@", ">"},
    {"<b@here.example>,<victim@", ">"},
    {"<b@here.example> <victim@", ">"},
    {"<group:victim@", ";>"},
    {"<group:b@here.example,victim@", ";>"},
    {"<victim(b@here.example)@", ">"},
    {"<(b@here.example)victim@", ">"},
    {"<victim@(here.example)", ">"},
    {"<victim@", "(here.example)>"},
    {"<victim@", " here.example>"},
    {"<victim@", ".>"},
    {"<victim@", ".here.example>"},
    {"<victim@here.example.", ">"},
    {"<victim@", "#here.example>"},
    {"<victim@", "/here.example>"},
    {"<victim@", "\\here.example>"},
    {"<victim@", ">b@here.example"},
    {"<victim@", "> b@here.example"},
    {"<victim@", "> ORCPT=rfc822;b@here.example"},
    {"<victim@", "> NOTIFY=NEVER"},
    {"<victim.@", ">"},
    {"<.victim@", ">"},
    {"<vic..tim@", ">"},
    {"<victim|@", ">"},
    {"<|victim@", ">"},
    {"</victim@", ">"},
    {"<victim=", "@here.example>"},
    {"<victim#", "@here.example>"},
    {"<\xc3\xbc@", ">"},
    {"<postmaster@", ">"},
    {"<postmaster%", ">"},
    {"<postmaster@here.example@", ">"},
};

/* Domains that are not ours, some of which look as if they were. */
static const char *const domains[] = {
    "away.example",  "[192.0.2.7]",  "here.example.away.example",
    "xhere.example", "here-example", "[IPv6:2001:db8::7]",
};

struct session {
    enum smtp_server_kind kind;
    bool tls;
    const char *greeting;
};

static const struct session sessions[] = {
    {SMTP_KIND_MX, false, "EHLO c\r\n"},
    {SMTP_KIND_MX, true, "EHLO c\r\n"},
    {SMTP_KIND_MX, false, "HELO here.example\r\n"},
    {SMTP_KIND_LMTP, false, "LHLO c\r\n"},
    {SMTP_KIND_SUBMISSION, false, "EHLO c\r\n"},
    {SMTP_KIND_SUBMISSION, true, "EHLO c\r\n"},
    {SMTP_KIND_SUBMISSION, true, "EHLO c\r\nAUTH PLAIN AHVzZXIAd3Jvbmc=\r\n"}, /* a wrong password */
    {SMTP_KIND_MX, false, "EHLO c\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n"}, /* a good one at the wrong door */
};

static const char *const senders[] = {"<>", "<user@here.example>", "<victim@away.example>"};

/* Whatever is committed may only have recipients of here.example, relay.example or none. */
static void check_commits(const struct driver *d, const char *what)
{
    struct str rest = buf_str(&d->trace);
    struct str line;
    while (str_split(&rest, '\n', &line)) {
        if (!str_starts(line, STR("COMMIT "))) {
            continue;
        }
        size_t at = str_find_str(line, STR(" to=<"));
        struct str to = str_from(line, at);
        struct str part;
        assert_true(at != SIZE_MAX);
        while (str_split(&to, '<', &part)) {
            struct str address = str_sub(part, 0, str_find(part, 0, '>'));
            bool ours = str_find(part, 0, '>') == SIZE_MAX || str_ends(address, STR("@here.example")) ||
                        str_ends(address, STR("@relay.example")) ||
                        str_equal_nocase(address, STR("postmaster"));
            if (!ours) {
                print_error("relayed %s: %.*s\n", what, STR_ARGS(line));
            }
            assert_true(ours);
        }
    }
}

static unsigned try_form(const struct session *session, const char *sender, const struct form *form,
                         const char *domain, unsigned *stored)
{
    struct driver d;
    char area[1024];
    struct buf input = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    driver_open(&d, session->kind, session->tls);
    buf_append_str(&input, str_of(session->greeting));
    buf_printf(&input, "MAIL FROM:%s SMTPUTF8\r\nRCPT TO:", sender);
    buf_append_str(&input, str_of(form->before));
    buf_append_str(&input, str_of(domain));
    buf_append_str(&input, str_of(form->after));
    buf_append_lit(&input, "\r\nBDAT 27 LAST\r\nFrom: user@here.example\r\n\r\nQUIT\r\n");
    assert_true(buf_ok(&input));
    driver_feed(&d, buf_str(&input));
    check_commits(&d, area);
    assert_true(d.closed);
    *stored += d.commits;
    driver_close(&d);
    return 1;
}

static void test_nothing_is_relayed_without_login(void **state)
{
    (void)state;
    unsigned tried = 0;
    unsigned stored = 0;
    for (size_t s = 0; s < sizeof(sessions) / sizeof(sessions[0]); s++) {
        for (size_t m = 0; m < sizeof(senders) / sizeof(senders[0]); m++) {
            for (size_t d = 0; d < sizeof(domains) / sizeof(domains[0]); d++) {
                for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
                    tried += try_form(&sessions[s], senders[m], &forms[f], domains[d], &stored);
                }
            }
        }
    }
    assert_true(sizeof(forms) / sizeof(forms[0]) * (sizeof(domains) / sizeof(domains[0])) >= 200);
    assert_true(tried > 10000);
    print_message("%u of %u were stored, for our own recipients\n", stored, tried);
}

/* The same forms with a login reach only the address that stands there: none is routed by what its local part says. */
static void test_login_relays_to_plain_addresses(void **state)
{
    (void)state;
    struct driver d;
    open_logged_in(&d);
    talk(&d, "MAIL FROM:<user@here.example>", "250 2.1.0 Sender OK\r\n");
    talk(&d, "RCPT TO:<victim@away.example>", "250 2.1.5 Recipient OK\r\n");
    talk(&d, "RCPT TO:<@here.example:victim@[192.0.2.7]>", "250 2.1.5 Recipient OK\r\n");
    talk(&d, "RCPT TO:<victim%away.example@here.example>",
         "550 5.7.1 Routing inside an address (%, ! or a second @) is refused; give the final address\r\n");
    talk(&d, "RCPT TO:<victim%else.example@away.example>",
         "550 5.7.1 Routing inside an address (%, ! or a second @) is refused; give the final address\r\n");
    talk(&d, "RCPT TO:<unknown@here.example>",
         "550 5.1.1 No such user here; check the spelling of the address\r\n");
    driver_close(&d);
}

/* A login is needed on submission but with catch_all, where everything is local. */
static void test_catch_all_takes_mail_without_login(void **state)
{
    (void)state;
    struct driver d;
    driver_defaults(&d, SMTP_KIND_SUBMISSION);
    d.settings.catch_all = true;
    driver_begin(&d, false);
    greet(&d);
    talk(&d, "MAIL FROM:<anybody@away.example>", "250 2.1.0 Sender OK\r\n");
    driver_feed(&d, STR("RCPT TO:<victim@away.example>\r\n")); /* the driver's answer says: not local */
    assert_true(str_starts(buf_str(&d.out), STR("550 5.7.1 Relay denied")));
    buf_clear(&d.out);
    d.catch_all_recipients = true;
    talk(&d, "RCPT TO:<victim@away.example>", "250 2.1.5 Recipient OK\r\n");
    driver_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_relayed_without_login),
        cmocka_unit_test(test_login_relays_to_plain_addresses),
        cmocka_unit_test(test_catch_all_takes_mail_without_login),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
