/*
 * MAIL and RCPT of the SMTP server engine: paths (RFC 5321, section 4.1.2; 6531), parameters (1870, 3030, 3461, 4954, 6152,
 * 6533), and what the engine keeps of them.
 */
#include "talk.h"

#define SENDER_OK   "250 2.1.0 Sender OK\r\n"
#define RCPT_OK     "250 2.1.5 Recipient OK\r\n"
#define BAD_SENDER  "501 5.1.7 Write MAIL FROM:<user@example.org>, or MAIL FROM:<> for bounces\r\n"
#define BAD_RCPT    "501 5.1.3 Write RCPT TO:<user@example.org>\r\n"
#define LONG_TEXT   "Address too long: 64 octets before the @ and 256 in all are allowed\r\n"
#define DOMAIN_TEXT "The domain of this address is not valid\r\n"
#define NEEDS_UTF8  "553 5.6.7 This address is not ASCII: give the parameter SMTPUTF8 at MAIL\r\n"
#define ROUTED                                                                                               \
    "550 5.7.1 Routing inside an address (%, ! or a second @) is refused; give the final address\r\n"
#define TWICE             "501 5.5.4 A parameter is given twice\r\n"
#define NO_SIZE           "501 5.5.4 SIZE takes a number of octets\r\n"
#define TOO_LARGE         "552 5.3.4 Message too large for this server; EHLO tells the limit as SIZE\r\n"
#define NO_BODY           "501 5.5.4 BODY is 7BIT, 8BITMIME or BINARYMIME\r\n"
#define NO_RET            "501 5.5.4 RET is FULL or HDRS\r\n"
#define NO_ENVID          "501 5.5.4 ENVID is 1 to 100 octets of xtext\r\n"
#define NO_AUTH           "501 5.5.4 AUTH takes a mailbox as xtext, or <>\r\n"
#define NO_UTF8           "501 5.5.4 SMTPUTF8 takes no value\r\n"
#define NO_NOTIFY         "501 5.5.4 NOTIFY is NEVER, or a list of SUCCESS, FAILURE, DELAY\r\n"
#define NEVER             "501 5.5.4 NOTIFY=NEVER stands alone\r\n"
#define NO_ORCPT          "501 5.5.4 ORCPT is a type, a semicolon and an address as xtext\r\n"
#define NO_MAIL_PARAMETER "555 5.5.4 A parameter of MAIL is not known; EHLO lists the extensions that are\r\n"
#define NO_RCPT_PARAMETER "555 5.5.4 A parameter of RCPT is not known; EHLO lists the extensions that are\r\n"

#define L8(x) x x x x x x x x
#define L64   L8("abcdefgh")
#define L63   L8("abcdefg") "abcdefg"

struct sender_case {
    const char *argument; /* behind MAIL FROM: */
    const char *reply;
    const char *kept; /* the reverse-path in the transaction; NULL if there must be none */
};

static const struct sender_case senders[] = {
    {"<>", SENDER_OK, ""},
    {"<a@away.example>", SENDER_OK, "a@away.example"},
    {" <a@away.example>", SENDER_OK, "a@away.example"},
    {"<A.b@AWAY.Example>", SENDER_OK, "A.b@away.example"},
    {"<a!b%c@away.example>", SENDER_OK, "a!b%c@away.example"}, /* nothing is routed by a reverse-path */
    {"<#$&'*+-/=?^_`{|}~@away.example>", SENDER_OK, "#$&'*+-/=?^_`{|}~@away.example"},
    {"<@one.example,@two.example:a@away.example>", SENDER_OK, "a@away.example"},
    {"<@one.example:a@away.example> SIZE=5", SENDER_OK, "a@away.example"},
    {"<\"a\"@away.example>", SENDER_OK, "a@away.example"},
    {"<\"a b\"@away.example>", SENDER_OK, "\"a b\"@away.example"},
    {"<\"a\\\"b\"@away.example>", SENDER_OK, "\"a\\\"b\"@away.example"},
    {"<\"a\\b\"@away.example>", SENDER_OK, "ab@away.example"},
    {"<\"a>b\"@away.example>", SENDER_OK, "\"a>b\"@away.example"},
    {"<\"a@b\"@away.example>", SENDER_OK, "\"a@b\"@away.example"},
    {"<\"\"@away.example>", SENDER_OK, "\"\"@away.example"},
    {"<a@[192.0.2.1]>", SENDER_OK, "a@[192.0.2.1]"},
    {"<a@[IPv6:2001:DB8:0::1]>", SENDER_OK, "a@[IPv6:2001:db8::1]"},
    {"<a@x_y.example>", SENDER_OK, "a@x_y.example"},
    {"<a@localhost>", SENDER_OK, "a@localhost"},
    {"<" L64 "@away.example>", SENDER_OK, L64 "@away.example"},
    {"<a@" L63 ".example>", SENDER_OK, "a@" L63 ".example"},
    {"<a@b\xc3\xbc"
     "cher.example> SMTPUTF8",
     SENDER_OK, "a@xn--bcher-kva.example"},
    {"<\xc3\xbc@away.example> SMTPUTF8", SENDER_OK, "\xc3\xbc@away.example"},
    {"<\xc3\xbc@away.example> BODY=8BITMIME SMTPUTF8 SIZE=1", SENDER_OK, "\xc3\xbc@away.example"},
    /* Malformed. */
    {"", BAD_SENDER, NULL},
    {"<", BAD_SENDER, NULL},
    {"a@away.example", BAD_SENDER, NULL},
    {"<a@away.example", BAD_SENDER, NULL},
    {"<a@away.example>>", BAD_SENDER, NULL},
    {"<<a@away.example>>", BAD_SENDER, NULL},
    {"<a@away.example>SIZE=1", BAD_SENDER, NULL},
    {"<a@away.example>\tSIZE=1", BAD_SENDER, NULL},
    {"Me <a@away.example>", BAD_SENDER, NULL},
    {"<a>", BAD_SENDER, NULL},
    {"<postmaster>", BAD_SENDER, NULL},
    {"<@away.example>", BAD_SENDER, NULL},
    {"<@one.example:>", BAD_SENDER, NULL},
    {"<@one.example@two.example:a@away.example>", BAD_SENDER, NULL},
    {"<@:a@away.example>", BAD_SENDER, NULL},
    {"<.a@away.example>", BAD_SENDER, NULL},
    {"<a.@away.example>", BAD_SENDER, NULL},
    {"<a..b@away.example>", BAD_SENDER, NULL},
    {"<a b@away.example>", BAD_SENDER, NULL},
    {"<a@b@away.example>", BAD_SENDER, NULL},
    {"<a,b@away.example>", BAD_SENDER, NULL},
    {"<a(comment)@away.example>", BAD_SENDER, NULL},
    {"<\"a@away.example>", BAD_SENDER, NULL},
    {"<\"a\"b@away.example>", BAD_SENDER, NULL},
    {"<\"a\x01\"@away.example>", BAD_SENDER, NULL},
    {"<\"a\\\x7f\"@away.example>", BAD_SENDER, NULL},
    {"<a@away.example;x@y>", BAD_SENDER, NULL},
    {"<\xc3@away.example> SMTPUTF8", BAD_SENDER, NULL},
    {"<\xed\xa0\x80@away.example> SMTPUTF8", BAD_SENDER, NULL},
    {"<a@>", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<a@.example>", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<a@away..example>", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<a@away.example.>", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<a@-away.example>", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<a@away-.example>", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<a@" L64 ".example>", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<a@[192.0.2.256]>", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<a@[192.0.2.1>", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<a@[2001:db8::1]>", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<a@[IPv6:2001:db8::1::2]>", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<a@[x-tag:content]>", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<a@[]>", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<a@\xff.example> SMTPUTF8", BAD_SENDER, NULL},
    {"<a@\xe2\x80\x8b.example> SMTPUTF8", "501 5.1.8 " DOMAIN_TEXT, NULL},
    {"<" L64 "i@away.example>", "501 5.1.7 " LONG_TEXT, NULL},
    {"<a@" L63 "." L63 "." L63 "." L63 ".example>", "501 5.1.7 " LONG_TEXT, NULL},
    {"<\xc3\xbc@away.example>", NEEDS_UTF8, NULL},
    {"<a@b\xc3\xbc"
     "cher.example>",
     NEEDS_UTF8, NULL},
    {"<\"\xc3\xbc\"@away.example>", NEEDS_UTF8, NULL},
    {"<\xff@away.example>", BAD_SENDER, NULL},
};

static void test_reverse_paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(senders) / sizeof(senders[0]); i++) {
        const struct sender_case *c = &senders[i];
        struct driver d;
        driver_open(&d, SMTP_KIND_MX, false);
        greet(&d);
        driver_feed(&d, STR("MAIL FROM:"));
        driver_feed(&d, str_of(c->argument));
        driver_feed(&d, STR("\r\n"));
        expect_out_at(&d, str_of(c->reply), c->argument, (int)i);
        assert_true((d.server.transaction != NULL) == (c->kept != NULL));
        if (c->kept != NULL) {
            assert_true(str_equal(d.server.transaction->sender, str_of(c->kept)));
        }
        driver_close(&d);
    }
}

struct rcpt_case {
    const char *argument;
    const char *reply;
    const char *asked; /* what the engine asks about; NULL: nothing */
};

static const struct rcpt_case recipients[] = {
    {"<b@here.example>", RCPT_OK, "b@here.example"},
    {" <b@here.example> ", RCPT_OK, "b@here.example"},
    {"<B@Here.Example>", RCPT_OK, "B@here.example"},
    {"<b+tag@here.example>", RCPT_OK, "b+tag@here.example"},
    {"<@one.example,@two.example:b@here.example>", RCPT_OK, "b@here.example"},
    {"<\"b\"@here.example>", RCPT_OK, "b@here.example"},
    {"<\"b c\"@here.example>", RCPT_OK, "\"b c\"@here.example"},
    {"<postmaster>", RCPT_OK, "postmaster"},
    {"<PostMaster>", RCPT_OK, "PostMaster"},
    {"<postmaster@here.example>", RCPT_OK, "postmaster@here.example"},
    {"<x@relay.example>", RCPT_OK, "x@relay.example"},
    {"<unknown@here.example>", "550 5.1.1 No such user here; check the spelling of the address\r\n",
     "unknown@here.example"},
    {"<full@here.example>", "552 5.2.2 The recipient's mailbox is full, or too full for this message\r\n",
     "full@here.example"},
    {"<full-now@here.example>",
     "452 4.2.2 The recipient's mailbox is full, or too full for this message; try again later\r\n",
     "full-now@here.example"},
    {"<disabled@here.example>", "550 5.2.1 The recipient's account is disabled\r\n", "disabled@here.example"},
    {"<fail@here.example>", "451 4.3.0 The recipient cannot be looked up now; try again later\r\n",
     "fail@here.example"},
    {"<>", BAD_RCPT, NULL},
    {"<b>", BAD_RCPT, NULL},
    {"<\"postmaster\">", BAD_RCPT, NULL},
    {"b@here.example", BAD_RCPT, NULL},
    {"<b@here.example", BAD_RCPT, NULL},
    {"<b@here.example>NOTIFY=NEVER", BAD_RCPT, NULL},
    {"<b@here.example>, <c@here.example>", BAD_RCPT, NULL},
    {"<b@here.example,c@here.example>", BAD_RCPT, NULL},
    {"<group:b@here.example;>", BAD_RCPT, NULL},
    {"<b@here.example> <c@here.example>", NO_RCPT_PARAMETER, NULL},
    {"<b@here..example>", "501 5.1.2 " DOMAIN_TEXT, NULL},
    {"<b@>", "501 5.1.2 " DOMAIN_TEXT, NULL},
    {"<" L64 "i@here.example>", "501 5.1.3 " LONG_TEXT, NULL},
    {"<b%away.example@here.example>", ROUTED, NULL},
    {"<away.example!b@here.example>", ROUTED, NULL},
    {"<\"b@away.example\"@here.example>", ROUTED, NULL},
    {"<\"b%away.example\"@here.example>", ROUTED, NULL},
    {"<\xc3\xbc@here.example>", NEEDS_UTF8, NULL},
    /* Parameters. */
    {"<b@here.example> NOTIFY=NEVER", RCPT_OK, "b@here.example"},
    {"<b@here.example> notify=success,failure,delay", RCPT_OK, "b@here.example"},
    {"<b@here.example>  NOTIFY=DELAY  ORCPT=rfc822;x+2By@z.example", RCPT_OK, "b@here.example"},
    {"<b@here.example> ORCPT=utf-8;\\x{fc}@z.example", RCPT_OK, "b@here.example"},
    {"<b@here.example> NOTIFY", NO_NOTIFY, NULL},
    {"<b@here.example> NOTIFY=", NO_NOTIFY, NULL},
    {"<b@here.example> NOTIFY=SOMETIMES", NO_NOTIFY, NULL},
    {"<b@here.example> NOTIFY=SUCCESS,", NO_NOTIFY, NULL},
    {"<b@here.example> NOTIFY=,SUCCESS", NO_NOTIFY, NULL},
    {"<b@here.example> NOTIFY=SUCCESS,SUCCESS", NO_NOTIFY, NULL},
    {"<b@here.example> NOTIFY=NEVER,SUCCESS", NEVER, NULL},
    {"<b@here.example> NOTIFY=DELAY,NEVER", NEVER, NULL},
    {"<b@here.example> NOTIFY=DELAY NOTIFY=DELAY", TWICE, NULL},
    {"<b@here.example> ORCPT", NO_ORCPT, NULL},
    {"<b@here.example> ORCPT=", NO_ORCPT, NULL},
    {"<b@here.example> ORCPT=rfc822", NO_ORCPT, NULL},
    {"<b@here.example> ORCPT=rfc822;", NO_ORCPT, NULL},
    {"<b@here.example> ORCPT=;b@here.example", NO_ORCPT, NULL},
    {"<b@here.example> ORCPT=rfc822;b+2@here.example", NO_ORCPT, NULL},
    {"<b@here.example> ORCPT=rfc822;b=c", NO_ORCPT, NULL},
    {"<b@here.example> ORCPT=utf-8;\xc3\xbc@z.example", NO_ORCPT, NULL},
    {"<b@here.example> ORCPT=rfc822;b ORCPT=rfc822;b", TWICE, NULL},
    {"<b@here.example> SIZE=5", NO_RCPT_PARAMETER, NULL},
    {"<b@here.example> =", NO_RCPT_PARAMETER, NULL},
};

static void test_forward_paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(recipients) / sizeof(recipients[0]); i++) {
        const struct rcpt_case *c = &recipients[i];
        struct driver d;
        char asked[300];
        driver_open(&d, SMTP_KIND_MX, false);
        greet(&d);
        driver_feed(&d, STR("MAIL FROM:<>\r\n"));
        buf_clear(&d.out);
        driver_feed(&d, STR("RCPT TO:"));
        driver_feed(&d, str_of(c->argument));
        driver_feed(&d, STR("\r\n"));
        expect_out_at(&d, str_of(c->reply), c->argument, (int)i);
        (void)snprintf(asked, sizeof(asked), "RCPT %s\n", c->asked == NULL ? "" : c->asked);
        expect_trace_at(&d, c->asked == NULL ? STR_EMPTY : str_of(asked), c->argument, (int)i);
        bool accepted = c->reply[0] == '2';
        assert_int_equal(accepted, d.server.transaction->recipient_count);
        assert_true((d.server.transaction->recipients != NULL) == accepted);
        driver_close(&d);
    }
}

static const struct {
    const char *parameters;
    const char *reply;
} mail_parameters[] = {
    {"SIZE=0", SENDER_OK},
    {"SIZE=100000", SENDER_OK},
    {"size=00000000000000000001", SENDER_OK},
    {"SIZE=100001", TOO_LARGE},
    {"SIZE=9223372036854775808", TOO_LARGE},
    {"SIZE=99999999999999999999", TOO_LARGE},
    {"SIZE=999999999999999999999", NO_SIZE},
    {"SIZE", NO_SIZE},
    {"SIZE=", NO_SIZE},
    {"SIZE=-1", NO_SIZE},
    {"SIZE=1k", NO_SIZE},
    {"SIZE=1 SIZE=1", TWICE},
    {"BODY=7BIT", SENDER_OK},
    {"body=8bitmime", SENDER_OK},
    {"BODY=BINARYMIME", SENDER_OK},
    {"BODY=9BIT", NO_BODY},
    {"BODY", NO_BODY},
    {"BODY=", NO_BODY},
    {"BODY=7BIT BODY=8BITMIME", TWICE},
    {"SMTPUTF8", SENDER_OK},
    {"smtputf8", SENDER_OK},
    {"SMTPUTF8=", NO_UTF8},
    {"SMTPUTF8=yes", NO_UTF8},
    {"SMTPUTF8 SMTPUTF8", TWICE},
    {"RET=FULL", SENDER_OK},
    {"RET=hdrs", SENDER_OK},
    {"RET=NONE", NO_RET},
    {"RET", NO_RET},
    {"RET=FULL RET=FULL", TWICE},
    {"ENVID=abc+2B", SENDER_OK},
    {"ENVID=" L64 "abcdefghijabcdefghijabcdefghijabcdef", SENDER_OK},
    {"ENVID=" L64 "abcdefghijabcdefghijabcdefghijabcdefg", NO_ENVID},
    {"ENVID=", NO_ENVID},
    {"ENVID", NO_ENVID},
    {"ENVID=a+2b", NO_ENVID},
    {"ENVID=a=b", NO_ENVID},
    {"ENVID=\xc3\xbc", NO_ENVID},
    {"ENVID=a ENVID=a", TWICE},
    {"AUTH=<>", SENDER_OK},
    {"AUTH=e+3Dmc2@example.com", SENDER_OK},
    {"AUTH=", NO_AUTH},
    {"AUTH", NO_AUTH},
    {"AUTH=a=b", NO_AUTH},
    {"AUTH=<> AUTH=<>", TWICE},
    {"SIZE=1 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x AUTH=<>", SENDER_OK},
    {"REQUIRETLS", NO_MAIL_PARAMETER},
    {"XYZZY=1", NO_MAIL_PARAMETER},
    {"=", NO_MAIL_PARAMETER},
    {"NOTIFY=NEVER", NO_MAIL_PARAMETER},
    {"SIZE=1 XYZZY", NO_MAIL_PARAMETER},
};

static void test_mail_parameters(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(mail_parameters) / sizeof(mail_parameters[0]); i++) {
        struct driver d;
        driver_open(&d, SMTP_KIND_MX, false);
        greet(&d);
        driver_feed(&d, STR("MAIL FROM:<a@away.example> "));
        driver_feed(&d, str_of(mail_parameters[i].parameters));
        driver_feed(&d, STR("\r\n"));
        expect_out_at(&d, str_of(mail_parameters[i].reply), mail_parameters[i].parameters, (int)i);
        assert_true((d.server.transaction != NULL) == (mail_parameters[i].reply[0] == '2'));
        driver_close(&d);
        /* HELO means: no extensions (RFC 5321, section 4.1.1.1). */
        driver_open(&d, SMTP_KIND_MX, false);
        driver_feed(&d, STR("HELO c\r\n"));
        buf_clear(&d.out);
        driver_feed(&d, STR("MAIL FROM:<a@away.example> "));
        driver_feed(&d, str_of(mail_parameters[i].parameters));
        driver_feed(&d, STR("\r\n"));
        expect_out(&d, "555 5.5.4 Parameters need EHLO, not HELO\r\n");
        talk(&d, "MAIL FROM:<a@away.example>", SENDER_OK);
        talk(&d, "RCPT TO:<b@here.example> NOTIFY=NEVER", NO_RCPT_PARAMETER);
        talk(&d, "RCPT TO:<b@here.example>", RCPT_OK);
        driver_close(&d);
    }
}

/* RFC 6531: UTF-8 local parts and domains; the domain is kept as A-labels, ORCPT may be UTF-8 itself (6533). */
static void test_smtputf8(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    talk(&d,
         "MAIL FROM:<j\xc3\xb6@b\xc3\xbc"
         "cher.example> SMTPUTF8",
         SENDER_OK);
    talk(&d, "RCPT TO:<\xe7\x94\xa8\xe6\x88\xb7@here.example> ORCPT=utf-8;\xe7\x94\xa8@x.example", RCPT_OK);
    talk(&d, "RCPT TO:<\"\xc3\xbc \"@here.example>", RCPT_OK);
    talk(&d, "RCPT TO:<\xc0\x80@here.example>", BAD_RCPT);
    talk(&d, "RCPT TO:<b@here.example> ORCPT=utf-8;\xc0\x80", NO_ORCPT);
    talk(&d, "DATA", "354 End data with <CRLF>.<CRLF>\r\n");
    send_raw(&d, "Subject: \xc3\xbc\r\n\r\n.\r\n", "250 2.0.0 Stored as 0000000000000000test\r\n");
    expect_trace(
        &d,
        "RCPT \xe7\x94\xa8\xe6\x88\xb7@here.example\nRCPT \"\xc3\xbc \"@here.example\n"
        "COMMIT from=<j\xc3\xb6@xn--bcher-kva.example> SMTPUTF8 to=<\xe7\x94\xa8\xe6\x88\xb7@here.example> "
        "orcpt=utf-8;\xe7\x94\xa8@x.example to=<\"\xc3\xbc \"@here.example> 15 octets\n"
        "Subject: \xc3\xbc\r\n\r\n\nEND\n");
    driver_close(&d);
}

/* A refused MAIL or RCPT leaves nothing behind; what was accepted before stays. */
static void test_refusals_leave_nothing(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    talk(&d, "MAIL FROM:<a@away.example> SIZE=200000", TOO_LARGE);
    talk(&d, "RCPT TO:<b@here.example>", "503 5.5.1 MAIL comes before RCPT\r\n");
    talk(&d, "MAIL FROM:<c@away.example> RET=FULL", SENDER_OK);
    talk(&d, "MAIL FROM:<d@away.example>", "503 5.5.1 A transaction is under way; RSET ends it\r\n");
    talk(&d, "RCPT TO:<b@here.example> NOTIFY=SUCCESS", RCPT_OK);
    talk(&d, "RCPT TO:<x@here.example> NOTIFY=X", NO_NOTIFY);
    talk(&d, "RCPT TO:<unknown@here.example> NOTIFY=NEVER",
         "550 5.1.1 No such user here; check the spelling of the address\r\n");
    talk(&d, "RCPT TO:<e@here.example>", RCPT_OK);
    talk(&d, "BDAT 0 LAST", "250 2.0.0 Stored as 0000000000000000test\r\n");
    expect_trace(
        &d,
        "RCPT b@here.example\nRCPT unknown@here.example\nRCPT e@here.example\n"
        "COMMIT from=<c@away.example> ret=FULL to=<b@here.example> notify=2 to=<e@here.example> 0 octets\n\n"
        "END\n");
    /* The next one starts afresh. */
    talk(&d, "MAIL FROM:<>", SENDER_OK);
    talk(&d, "RCPT TO:<b@here.example>", RCPT_OK);
    talk(&d, "BDAT 0 LAST", "250 2.0.0 Stored as 0000000000000000test\r\n");
    expect_trace(&d, "RCPT b@here.example\nCOMMIT from=<> to=<b@here.example> 0 octets\n\nEND\n");
    driver_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reverse_paths),          cmocka_unit_test(test_forward_paths),
        cmocka_unit_test(test_mail_parameters),        cmocka_unit_test(test_smtputf8),
        cmocka_unit_test(test_refusals_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
