/* Parts, sections and IMAP's structures of messages made for the purpose; what a failing allocation leaves; the bounds. */
#include "base/mem.h"
#include "message/bodystructure.h"
#include "message/charset.h"
#include "message/envelope.h"
#include "message/imapstring.h"
#include "message/section.h"
#include "message/summary.h"
#include "vectors.h"

#include <stdio.h>

static const char mixed[] =
    "From: \"A. \\\"B\\\" C\" <a@example.org>, Group: b@example.org, c@example.org;, lone\r\n"
    "Sender: <@r1,@r2:s@example.org>\r\n"
    "To: (only a comment)\r\n"
    "Subject: a \"quoted\"\r\n\tsubject\r\n"
    "Date: Tue, 24 Nov 2026 12:00:00 +0100\r\n"
    "Message-ID: <1@example.org>\r\n"
    "X-Other: 1\r\n"
    "Content-Type: multipart/mixed; boundary=\"b 1\"\r\n"
    "\r\n"
    "preamble\r\n"
    "--b 1\r\n"
    "\r\n"
    "one\r\n"
    "two\r\n"
    "--b 1  \r\n"
    "Content-Type: application/pdf; name*0=long; name*1=\".pdf\"\r\n"
    "Content-Transfer-Encoding: BASE64\r\n"
    "Content-ID: <id@x>\r\n"
    "Content-Disposition: attachment; filename*=utf-8''%E2%82%AC.pdf\r\n"
    "Content-Language: en, de\r\n"
    "\r\n"
    "aGVsbG8=\r\n"
    "\r\n"
    "--b 1\r\n"
    "Content-Type: message/rfc822\r\n"
    "\r\n"
    "Subject: inner\r\n"
    "Content-Type: text/html; charset=utf-8\r\n"
    "\r\n"
    "<p>in</p>\r\n"
    "--b 1--\r\n"
    "epilogue\r\n";

static const char mixed_body[] =
    "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 8 1 NIL NIL NIL NIL)"
    "(\"application\" \"pdf\" (\"name\" \"long.pdf\") \"<id@x>\" NIL \"base64\" 10 NIL "
    "(\"attachment\" (\"filename*\" \"utf-8''%E2%82%AC.pdf\")) (\"en\" \"de\") NIL)"
    "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 67 (NIL \"inner\" NIL NIL NIL NIL NIL NIL NIL NIL) "
    "(\"text\" \"html\" (\"charset\" \"utf-8\") NIL NIL \"7bit\" 9 0 NIL NIL NIL NIL) 3 NIL NIL NIL NIL)"
    " \"mixed\" (\"boundary\" \"b 1\") NIL NIL NIL)";

static const char mixed_envelope[] =
    "(\"Tue, 24 Nov 2026 12:00:00 +0100\" \"a \\\"quoted\\\"\tsubject\" "
    "((\"A. \\\"B\\\" C\" NIL \"a\" \"example.org\")(NIL NIL \"Group\" NIL)(NIL NIL \"b\" \"example.org\")"
    "(NIL NIL \"c\" \"example.org\")(NIL NIL NIL NIL)(NIL NIL \"lone\" \"MISSING_DOMAIN\")) "
    "((NIL \"@r1,@r2\" \"s\" \"example.org\")) "
    "((\"A. \\\"B\\\" C\" NIL \"a\" \"example.org\")(NIL NIL \"Group\" NIL)(NIL NIL \"b\" \"example.org\")"
    "(NIL NIL \"c\" \"example.org\")(NIL NIL NIL NIL)(NIL NIL \"lone\" \"MISSING_DOMAIN\")) "
    "NIL NIL NIL NIL \"<1@example.org>\")";

static void test_bodystructure(void **state)
{
    struct mime mime = {.count = 0};
    struct buf out = buf_make(1 << 20);
    assert_true(mime_parse(&mime, str_of(mixed)));
    assert_true(bodystructure_append(&mime, true, &out));
    assert_str(buf_str(&out), str_of(mixed_body));
    buf_free(&out);
    mime_free(&mime);
    (void)state;
}

static void test_envelope(void **state)
{
    struct envelope envelope;
    struct buf out = buf_make(1 << 20);
    envelope_read(str_of(mixed), &envelope);
    assert_true(envelope_append(&envelope, &out));
    assert_str(buf_str(&out), str_of(mixed_envelope));
    buf_free(&out);
    (void)state;
}

static void assert_section(const struct mime *mime, const char *name, const char *expected)
{
    struct section section;
    struct str found;
    assert_true(section_parse(str_of(name), &section));
    assert_int_equal(section_find(mime, &section, &found), expected != NULL);
    if (expected != NULL) {
        assert_str(found, str_of(expected));
    }
}

static void test_sections(void **state)
{
    struct mime mime = {.count = 0};
    assert_true(mime_parse(&mime, str_of(mixed)));
    assert_section(&mime, "", mixed);
    assert_section(&mime, "1", "one\r\ntwo");
    assert_section(&mime, "1.mime", "\r\n");
    assert_section(&mime, "2", "aGVsbG8=\r\n");
    assert_section(&mime, "3.HEADER", "Subject: inner\r\nContent-Type: text/html; charset=utf-8\r\n\r\n");
    assert_section(&mime, "3.TEXT", "<p>in</p>");
    assert_section(&mime, "3.1", "<p>in</p>");
    assert_section(&mime, "3.1.MIME", "Subject: inner\r\nContent-Type: text/html; charset=utf-8\r\n\r\n");
    assert_section(&mime, "3.1.1", NULL);
    assert_section(&mime, "3.2", NULL);
    assert_section(&mime, "4", NULL);
    assert_section(&mime, "1.HEADER", NULL);
    assert_section(&mime, "TEXT", strstr(mixed, "preamble"));
    mime_free(&mime);
    (void)state;
}

static void test_section_names(void **state)
{
    static const char *const wrong[] = {"0",        "1.",       "01",         "1..2", "MIME",
                                        "1.0",      "x",        "1.HEADER.",  ".1",   "4294967295",
                                        "1.TEXT.1", "HEADER.1", "99999999999"};
    struct section section;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(section_parse(str_of(wrong[i]), &section));
    }
    assert_true(section_parse(STR("1.2.header.fields.not"), &section));
    assert_int_equal(section.text, SECTION_HEADER_FIELDS_NOT);
    assert_int_equal(section.depth, 2);
    (void)state;
}

static void test_header_fields(void **state)
{
    static const struct str names[] = {{.data = "SUBJECT", .len = 7}, {.data = "x-other", .len = 7}};
    struct buf out = buf_make(1 << 16);
    assert_true(section_append_fields(str_of(mixed), names, 2, false, &out));
    assert_str(buf_str(&out), STR("Subject: a \"quoted\"\r\n\tsubject\r\nX-Other: 1\r\n\r\n"));
    buf_clear(&out);
    assert_true(section_append_fields(STR("A: 1\r\nSubject: 2\r\nB: 3"), names, 2, true, &out));
    assert_str(buf_str(&out), STR("A: 1\r\nB: 3\r\n\r\n"));
    buf_free(&out);
    (void)state;
}

static void test_binary(void **state)
{
    struct mime mime = {.count = 0};
    struct section section;
    struct str body;
    enum transfer_encoding encoding;
    struct buf out = buf_make(1 << 16);
    assert_true(mime_parse(&mime, str_of(mixed)));
    assert_true(section_parse(STR("2"), &section));
    assert_true(section_find_binary(&mime, &section, &body, &encoding));
    assert_int_equal(transfer_size(encoding, body), 5);
    assert_true(transfer_append(encoding, body, &out));
    assert_str(buf_str(&out), STR("hello"));
    assert_true(section_parse(STR("3"), &section));
    assert_true(section_find_binary(&mime, &section, &body, &encoding));
    assert_true(transfer_is_identity(encoding));
    mime_free(&mime);
    assert_true(mime_parse(&mime, STR("Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin\r\n")));
    assert_true(section_parse(STR("1"), &section));
    assert_true(section_find_binary(&mime, &section, &body, &encoding));
    assert_int_equal(encoding, TRANSFER_UNKNOWN);
    mime_free(&mime);
    buf_free(&out);
    (void)state;
}

static void assert_decoded(enum transfer_encoding encoding, const char *in, const char *expected)
{
    for (size_t room = TRANSFER_ROOM_MIN; room < 12; room++) { /* the same in steps of any size */
        struct transfer transfer = transfer_begin(encoding, str_of(in));
        struct buf out = buf_make(1 << 16);
        char area[16];
        size_t len;
        while ((len = transfer_next(&transfer, area, room)) > 0) {
            buf_append(&out, area, len);
        }
        assert_str(buf_str(&out), str_of(expected));
        buf_free(&out);
    }
    assert_int_equal(transfer_size(encoding, str_of(in)), strlen(expected));
}

static void test_transfer(void **state)
{
    assert_decoded(TRANSFER_QUOTED_PRINTABLE, "a=20b =\r\nc  \r\n d\t", "a b c\r\n d");
    assert_decoded(TRANSFER_QUOTED_PRINTABLE, "x=3Dy=zz== =4", "x=y=zz== =4");
    assert_decoded(TRANSFER_QUOTED_PRINTABLE, "soft= \t\r\nbreak=", "softbreak");
    assert_decoded(TRANSFER_QUOTED_PRINTABLE, "bare=\nline  \nend", "bareline\nend");
    assert_decoded(TRANSFER_BASE64, "aGVs\r\nbG8g\r\nd29ybGQ=\r\n", "hello world");
    assert_decoded(TRANSFER_BASE64, "a-G*V s bG8", "hello");
    assert_decoded(TRANSFER_BASE64, "aGk=aGk=", "hi");
    assert_decoded(TRANSFER_8BIT, "as it is =20", "as it is =20");
    (void)state;
}

static void test_strings(void **state)
{
    struct buf out = buf_make(1 << 16);
    imapstring_append(STR("a\"b\\c"), &out);
    imapstring_append_nil(STR_EMPTY, &out);
    imapstring_append(STR("\xc3\xa9"), &out);
    imapstring_append_utf8(STR("\xc3\xa9"), &out);
    imapstring_append_utf8(STR("\xc3"), &out);
    imapstring_append(STR("a\0b"), &out);
    imapstring_append(STR("a\nb"), &out);
    assert_str(buf_str(&out),
               STR("\"a\\\"b\\\\c\"NIL{2}\r\n\xc3\xa9\"\xc3\xa9\"{1}\r\n\xc3{2}\r\nab{3}\r\na\nb"));
    buf_free(&out);
    (void)state;
}

/* Depth, parts: beyond the bound a part is opaque, and the structure can still be sent. */
static void test_bounds(void **state)
{
    struct mime mime = {.count = 0};
    struct buf text = buf_make((size_t)64 << 20);
    struct buf out = buf_make((size_t)64 << 20);
    for (unsigned i = 0; i < 300; i++) {
        buf_printf(&text, "Content-Type: multipart/mixed; boundary=b%03u\r\n\r\n--b%03u\r\n", i, i);
    }
    assert_true(mime_parse(&mime, buf_str(&text)));
    assert_true(mime.cut);
    assert_int_equal(mime.count, MIME_DEPTH_MAX);
    assert_true(bodystructure_append(&mime, true, &out));
    buf_clear(&text);
    for (unsigned i = 0; i < 300; i++) {
        buf_append_lit(&text, "Content-Type: message/rfc822\r\n\r\n");
    }
    assert_true(mime_parse(&mime, buf_str(&text)));
    assert_true(mime.cut && mime.count == MIME_DEPTH_MAX);
    buf_clear(&text);
    buf_append_lit(&text, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (unsigned i = 0; i < MIME_PARTS_MAX + 50; i++) {
        buf_append_lit(&text, "--b\r\n\r\npart\r\n");
    }
    assert_true(mime_parse(&mime, buf_str(&text)));
    assert_true(mime.cut);
    assert_int_equal(mime.count, MIME_PARTS_MAX);
    const struct mime_part *last = &mime.parts[mime.count - 1];
    assert_int_equal(last->kind, MIME_LEAF);
    assert_true(last->body.data + last->body.len == text.data + text.len);
    assert_int_equal(last->body.len, 51 * 13 + 6);
    mime_free(&mime);
    buf_free(&text);
    buf_free(&out);
    (void)state;
}

/* What may not fail: a message without anything, with a header alone, with line feeds alone. */
static void test_small(void **state)
{
    static const char *const texts[] = {
        "", "\r\n", "\n", "x", "\r", "A: b", "--", "A:\n\n", "\r\n--\r\n", "\n\n\n", "Content-Type:", ":"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct mime mime = {.count = 0};
        struct buf out = buf_make(1 << 16);
        assert_true(mime_parse(&mime, str_of(texts[i])));
        assert_int_equal(mime.count, 1);
        assert_int_equal(mime.parts[0].header.len + mime.parts[0].body.len, strlen(texts[i]));
        assert_true(bodystructure_append(&mime, true, &out));
        buf_free(&out);
        mime_free(&mime);
    }
    (void)state;
}

static void test_summary(void **state)
{
    struct mime mime = {.count = 0};
    struct buf out = buf_make(2 * SUMMARY_MAX);
    struct summary summary;
    struct str text;
    assert_true(mime_parse(&mime, str_of(mixed)));
    buf_append_lit(&out, "before");
    assert_true(summary_encode(&mime, STR_EMPTY, &out));
    assert_true(summary_decode(str_from(buf_str(&out), 6), &summary));
    assert_true(summary_text(&summary, SUMMARY_ENVELOPE, &text));
    assert_str(text, str_of(mixed_envelope));
    assert_true(summary_text(&summary, SUMMARY_BODYSTRUCTURE, &text));
    assert_str(text, str_of(mixed_body));
    assert_true(summary_text(&summary, SUMMARY_BODY, &text));
    assert_true(summary_text(&summary, SUMMARY_BASE_SUBJECT, &text));
    assert_str(text, STR("a \"quoted\" subject"));
    assert_true(summary_text(&summary, SUMMARY_PREVIEW, &text));
    assert_str(text, STR("one two"));
    assert_true(summary_text(&summary, SUMMARY_FIELDS, &text));
    assert_true(str_find_str(text, STR("X-Other")) == SIZE_MAX &&
                str_find_str(text, STR("Subject: a")) != SIZE_MAX);
    assert_true(summary.has_date && summary.date_seconds == 1795518000 && summary.zone_minutes == 60);
    assert_false(summary.is_reply);
    assert_int_equal(summary.part_count, mime.count);
    for (uint32_t i = 0; i < mime.count; i++) {
        struct summary_part part;
        summary_part(&summary, i, &part);
        assert_int_equal(part.kind, mime.parts[i].kind);
        assert_int_equal(part.parent, mime.parts[i].parent);
        assert_str(str_make(mixed + part.body_at, part.body_len), mime.parts[i].body);
        assert_str(str_make(mixed + part.header_at, part.header_len), mime.parts[i].header);
    }
    buf_free(&out);
    mime_free(&mime);
    (void)state;
}

/* What is too long is left out alone. */
static void test_summary_chosen(void **state)
{
    struct mime mime = {.count = 0};
    struct buf out = buf_make(2 * SUMMARY_MAX);
    struct buf chosen = buf_make(2 * SUMMARY_MAX);
    struct summary summary;
    struct str text;
    (void)state;
    assert_true(mime_parse(&mime, str_of(mixed)) && summary_encode(&mime, STR_EMPTY, &out));
    assert_true(summary_decode(buf_str(&out), &summary));
    for (unsigned wanted = 0; wanted < 1U << SUMMARY_TEXT_COUNT; wanted++) {
        struct summary again;
        buf_clear(&chosen);
        assert_true(summary_encode_chosen(&summary, wanted, &chosen));
        assert_true(summary_decode(buf_str(&chosen), &again));
        for (unsigned i = 0; i < SUMMARY_TEXT_COUNT; i++) {
            bool has = summary_text(&again, (enum summary_text)i, &text);
            assert_int_equal(has, wanted >> i & 1);
            assert_true(!has || str_equal(text, summary.texts[i]));
        }
        assert_true(again.size == summary.size && again.date_seconds == summary.date_seconds &&
                    again.part_count == 0);
    }
    /* What continues a field in front would change it. */
    buf_clear(&out);
    assert_true(mime_parse(&mime, STR(" continued\r\n\r\ntext")));
    assert_false(summary_encode(&mime, STR("Date: x\r\n"), &out));
    mime_free(&mime);
    buf_free(&out);
    buf_free(&chosen);
}

static void test_summary_too_long(void **state)
{
    struct mime mime = {.count = 0};
    struct buf text = buf_make((size_t)16 << 20);
    struct buf out = buf_make(SUMMARY_MAX);
    struct summary summary;
    struct str found;
    buf_append_lit(&text, "Subject: Re: short\r\nTo: ");
    for (unsigned i = 0; i < 5000; i++) {
        buf_printf(&text, "person%u@example.org,\r\n ", i);
    }
    buf_append_lit(&text, "\r\n\r\nbody\r\n");
    assert_true(mime_parse(&mime, buf_str(&text)));
    assert_true(summary_encode(&mime, STR_EMPTY, &out));
    assert_true(summary_decode(buf_str(&out), &summary));
    assert_false(summary_text(&summary, SUMMARY_ENVELOPE, &found));
    assert_false(summary_text(&summary, SUMMARY_FIELDS, &found));
    assert_true(summary_text(&summary, SUMMARY_BODY, &found));
    assert_true(summary_text(&summary, SUMMARY_PREVIEW, &found));
    assert_str(found, STR("body"));
    assert_true(summary.is_reply);
    buf_free(&text);
    buf_free(&out);
    mime_free(&mime);
    (void)state;
}

static void assert_text_refused(const char *text)
{
    struct summary summary = {.has = {[SUMMARY_BODY] = true}, .texts = {[SUMMARY_BODY] = str_of(text)}};
    struct str found;
    assert_false(summary_text(&summary, SUMMARY_BODY, &found));
}

/* A text that would break the reply it stands in is not given out. */
static void test_summary_hostile(void **state)
{
    static const char *const wrong[] = {"",
                                        "(",
                                        ")",
                                        "()) BYE",
                                        "NIL",
                                        "(\"a)",
                                        "(\"a\r\n\")",
                                        "({5}\r\nabc)",
                                        "({3}abc)",
                                        "({99999999999}\r\n",
                                        "(\"a\\\r\")",
                                        "(a)",
                                        "()\r\n* BYE",
                                        "(NIL\r\n)",
                                        "({3}\r\nabc",
                                        "(\"\\\")"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_text_refused(wrong[i]);
    }
    struct summary summary = {.has = {[SUMMARY_BODY] = true},
                              .texts = {[SUMMARY_BODY] = STR("(\"a\" 5 ({3}\r\n)\r\n NIL))")}};
    struct str found;
    assert_true(summary_text(&summary, SUMMARY_BODY, &found));
    (void)state;
}

/* Everything that a delivery and a client ask for; false if some allocation failed. */
static bool do_all(void)
{
    struct mime mime = {.count = 0};
    struct buf out = buf_make(1 << 20);
    struct summary summary;
    bool ok = mime_parse(&mime, str_of(mixed)) && bodystructure_append(&mime, true, &out) &&
              summary_encode(&mime, STR_EMPTY, &out);
    if (ok) {
        size_t at = str_find_str(buf_str(&out), str_of(mixed_body)) + sizeof(mixed_body) - 1;
        assert_true(summary_decode(str_from(buf_str(&out), at), &summary));
        for (unsigned i = 0; i < SUMMARY_TEXT_COUNT; i++) {
            struct str text;
            ok = summary_text(&summary, (enum summary_text)i, &text) && ok;
        }
    }
    buf_free(&out);
    mime_free(&mime);
    return ok;
}

/* The k-th allocation fails, for every k until none does: no crash, no leak, and nothing wrong given out. */
static void test_no_memory(void **state)
{
    int64_t live = mem_live();
    bool done = false;
    for (uint64_t k = 1; !done; k++) {
        mem_fail_at(k, 1);
        bool ok = do_all();
        done = mem_count() < k;
        mem_fail_at(0, 0);
        assert_true(ok == done || !done);
        assert_int_equal(mem_live(), live);
        assert_true(k < 1000);
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodystructure),    cmocka_unit_test(test_envelope),
        cmocka_unit_test(test_sections),         cmocka_unit_test(test_section_names),
        cmocka_unit_test(test_header_fields),    cmocka_unit_test(test_binary),
        cmocka_unit_test(test_transfer),         cmocka_unit_test(test_strings),
        cmocka_unit_test(test_bounds),           cmocka_unit_test(test_small),
        cmocka_unit_test(test_summary),          cmocka_unit_test(test_summary_chosen),
        cmocka_unit_test(test_summary_too_long), cmocka_unit_test(test_summary_hostile),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
