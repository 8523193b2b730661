/* Text for search and previews: charsets, encoded words, HTML, folding, base subjects, dates, ids. */
#include "base/mem.h"
#include "message/charset.h"
#include "message/date.h"
#include "message/encoded_word.h"
#include "message/fold.h"
#include "message/html.h"
#include "message/mailtext.h"
#include "message/msgid.h"
#include "message/parameter.h"
#include "message/subject.h"
#include "vectors.h"

#include <stdio.h>

static void assert_charset(const char *name, struct str bytes, const char *expected)
{
    for (size_t step = 1; step <= bytes.len; step++) { /* the same in pieces of any size */
        struct charset_stream stream = {.charset = charset_find(str_of(name))};
        struct buf out = buf_make(1 << 16);
        for (size_t at = 0; at < bytes.len; at += step) {
            assert_true(charset_stream_append(&stream, str_sub(bytes, at, at + step), &out));
        }
        assert_true(charset_stream_end(&stream, &out));
        assert_str(buf_str(&out), str_of(expected));
        buf_free(&out);
    }
}

static void test_charsets(void **state)
{
    assert_charset("utf-8", STR("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"), "aé€😀z");
    assert_charset("UTF8", STR("\xc3(\xff\xe2\x82"), "\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd");
    assert_charset("utf-8", STR("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* a surrogate */
    assert_charset("ISO-8859-1", STR("\xe9\x80\xff"), "é€ÿ");
    assert_charset("cp1252", STR("\x93q\x94"), "“q”");
    assert_charset("us-ascii", STR("a\xe9z"), "a\xef\xbf\xbdz");
    assert_charset("no such charset", STR("ok\xe9"), "ok\xef\xbf\xbd");
    assert_charset("iso-8859-2", STR("\xb3\xf3\xbf"), "łóż");
    assert_charset("koi8-r", STR("\xf0\xd2\xc9"), "При");
    assert_charset("windows-1251", STR("\xcf\xf0\xe8"), "При");
    assert_charset("Shift_JIS", STR("\x93\xfa\x96\x7b"), "日本");
    assert_charset("iso-2022-jp", STR("\x1b$BF|K\\\x1b(Bx"), "日本x");
    assert_charset("euc-kr", STR("\xc7\xd1\xb1\xdb"), "한글");
    assert_charset("gb2312", STR("\xd6\xd0\xce\xc4"), "中文");
    assert_charset("big5", STR("\xa4\xa4\xa4\xe5"), "中文");
    assert_charset("utf-16be", STR("\x00\x41\xd8\x3d\xde\x00"), "A😀");
    assert_charset("iso-2022-cn-ext", STR("abc"), "abc"); /* not among the allowed: CVE-2024-2961 */
    assert_int_equal(charset_find(STR("iso-2022-cn-ext")), CHARSET_UNKNOWN);
    (void)state;
}

static void assert_word(const char *value, const char *expected)
{
    struct buf out = buf_make(1 << 16);
    assert_true(encoded_word_append(str_of(value), &out));
    assert_str(buf_str(&out), str_of(expected));
    buf_free(&out);
}

static void test_encoded_words(void **state)
{
    assert_word("=?utf-8?B?w6k=?=", "é");
    assert_word("=?UTF-8?Q?=C3?= =?utf-8?q?=A9?=", "é");          /* a character in two words */
    assert_word("=?utf-8?b?w4M?=\r\n =?utf-8?b?w6k?= x", "Ãé x"); /* without padding */
    assert_word("=?utf-8*en?q?a_b?=", "a b");
    assert_word("=?x-unknown?q?a=E9b?=", "a\xef\xbf\xbd"
                                         "b");
    assert_word("=?utf-8?q?a=0D=0AX:=00b?=", "aX:b"); /* no line break comes out */
    assert_word("plain \xe9 and \xc3\xa9", "plain é and Ã©");
    assert_word("=?utf-8?x?abc?= =?utf-8?q?unfinished", "=?utf-8?x?abc?= =?utf-8?q?unfinished");
    assert_word("=?=?=?utf-8?q?ok?=", "=?=?ok");
    (void)state;
}

static void assert_html(const char *html, const char *expected)
{
    struct str text = str_of(html);
    for (size_t step = 1; step <= text.len; step++) {
        struct html state = {.state = HTML_TEXT};
        struct buf out = buf_make(1 << 16);
        for (size_t at = 0; at < text.len; at += step) {
            assert_true(html_append(&state, str_sub(text, at, at + step), &out));
        }
        assert_true(html_end(&state, &out));
        assert_str(buf_str(&out), str_of(expected));
        buf_free(&out);
    }
}

static void test_html(void **state)
{
    assert_html("<b>bo</b>ld<br/>new", "bold\nnew");
    assert_html("a &amp; b &lt;c&gt; &eacute;&#233;&#xE9; &nosuch; &amp", "a & b <c> ééé &nosuch; &");
    assert_html("x<!-- a > b -- --->y<!-->z", "xyz");
    assert_html("<style>p > q { color: red }</style>s<script>if (a</b) '</scripty'</script>t", "st");
    assert_html("<a title='1 > 2' href=\">\">link</a>", "link");
    assert_html("<!DOCTYPE html><title>no</title><p>1 < 2 <3", "\n1 < 2 <3");
    assert_html("&#0;&#99999999;&#xD800;<", "&#0;&#99999999;\xef\xbf\xbd<");
    (void)state;
}

static void assert_folded(const char *text, const char *expected)
{
    struct buf out = buf_make(1 << 16);
    assert_true(fold_text(str_of(text), &out));
    assert_str(buf_str(&out), str_of(expected));
    buf_free(&out);
}

static void test_fold(void **state)
{
    assert_folded("ÀÉÎõü Straße ŁÓDŹ", "aeiou strasse łodz");
    assert_folded("e\xcc\x81tude", "etude");
    assert_folded("ΣΊΣΥΦΟΣ ς", "σισυφοσ σ");
    assert_folded("Ёлка Й", "елка и");
    assert_folded("ﬁn ＡＢＣ ①", "fin abc 1");
    assert_folded("日本語 テスト が", "日本語 テスト が");
    assert_folded("か\xe3\x82\x99", "が");                             /* with a mark of its own */
    assert_folded("\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab 한", "한 한"); /* Hangul in pieces */
    assert_folded("हिन्दी", "हिन्दी");                                   /* vowels stay */
    assert_folded("soft\xc2\xadhyphen zero\xe2\x80\x8bwidth", "softhyphen zerowidth");
    assert_folded("\xff", "\xef\xbf\xbd");
    (void)state;
}

static void assert_base(const char *subject, const char *expected, bool is_reply)
{
    struct buf out = buf_make(1 << 16);
    bool reply = false;
    assert_true(subject_append_base(str_of(subject), &reply, &out));
    assert_str(buf_str(&out), str_of(expected));
    assert_int_equal(reply, is_reply);
    buf_free(&out);
}

static void test_base_subjects(void **state)
{
    assert_base("Re: hello", "hello", true);
    assert_base("RE : [list]  Fwd[2]: re: hello (FWD) ", "hello", true);
    assert_base("[list] hello", "hello", false);
    assert_base("[list]", "[list]", false);
    assert_base("[a] [b]", "[b]", false);
    assert_base("[Fwd: Re: inner]", "inner", true);
    assert_base("[fwd: [fwd: deep]] ", "deep", true);
    assert_base("re hello", "re hello", false);
    assert_base("Re:", "", true);
    assert_base("=?utf-8?q?Re:_=C3=A9?=\r\n\t x  y", "é x y", true);
    assert_base("[x] re: [y] z", "z", true);
    assert_base("fw: [fwd: a] b", "b", true);
    assert_base("[unclosed re: a", "[unclosed re: a", false);
    (void)state;
}

static void test_ids(void **state)
{
    struct msgid_list list = {.text =
                                  STR("text <a@b> (c <no@x>) <\"q\"@c>\r\n <d e@f><>, <unfinished <g@h>")};
    static const char *const expected[] = {"a@b", "\"q\"@c", "d e@f", "g@h"};
    static const char *const normal[] = {"a@b", "q@c", "de@f", "g@h"};
    struct str id;
    for (size_t i = 0; i < 4; i++) {
        struct buf out = buf_make(256);
        assert_true(msgid_next(&list, &id));
        assert_str(id, str_of(expected[i]));
        assert_true(msgid_append_normal(id, &out));
        assert_str(buf_str(&out), str_of(normal[i]));
        buf_free(&out);
    }
    assert_false(msgid_next(&list, &id));
    assert_true(msgid_single(STR(" bare@id "), &id));
    assert_str(id, STR("bare@id"));
    assert_false(msgid_single(STR("  "), &id));
    (void)state;
}

static void assert_date(const char *text, int64_t seconds, int zone)
{
    struct date_parsed parsed;
    assert_true(date_parse(str_of(text), &parsed));
    assert_int_equal(parsed.seconds, seconds);
    assert_int_equal(parsed.zone_minutes, zone);
}

/* Days that exist, in every year that a date can have: what date_append writes, date_parse reads. */
static void test_dates(void **state)
{
    struct date_parsed parsed;
    static const char *const wrong[] = {
        "", "Mon", "31 Feb 2020 00:00:00", "30 Feb 2000 00:00 Z", "32 Jan 2020", "1 Jan", "Jan 2020"};
    for (uint64_t day = 0; day < 2932896; day += 97) {
        struct buf out = buf_make(64);
        uint64_t seconds = day * 86400 + day % 86400;
        date_append(seconds * 1000, &out);
        assert_true(date_parse(buf_str(&out), &parsed));
        assert_int_equal(parsed.seconds, seconds);
        buf_free(&out);
    }
    assert_date("Thu, 1 Jan 1970 02:00:00 +0200", 0, 120);
    assert_date("Wed, 31 Dec 1969 23:59:59 GMT", -1, 0);
    assert_date("29 Feb 2000 12:00 EST", 951843600, -300);
    assert_date("Tue, 24 Nov 2026", 1795478400, 0);
    assert_date("Tue Nov 24 12:00:00 2026", 1795521600, 0);
    assert_date("Tue Nov 24 12:00:00 PST 2026", 1795550400, -480);
    assert_date("24 Nov 2026 12:00:00 +9999", 1795521600, 0); /* no zone: UTC */
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(date_parse(str_of(wrong[i]), &parsed));
    }
    (void)state;
}

static void assert_parameter(const char *text, const char *name, const char *expected)
{
    struct buf out = buf_make(1 << 16);
    assert_true(parameter_append_decoded(str_of(text), str_of(name), &out));
    assert_str(buf_str(&out), str_of(expected));
    buf_free(&out);
}

static void test_parameters(void **state)
{
    assert_parameter("; filename=\"a b.pdf\"; x=y", "filename", "a b.pdf");
    assert_parameter("; filename=a b (1).pdf; x=y", "filename", "a b");
    assert_parameter("; name*2=c; name*0=a; name*1=\"b \"", "name", "ab c");
    assert_parameter("; name=plain; name*=utf-8''%e2%82%ac", "name", "€");
    assert_parameter("; name*0*=iso-8859-1''a%e9; name*1=\"%41\"", "name", "aé%41");
    assert_parameter("; name=\"=?utf-8?q?=E2=82=AC?=\"", "name", "€");
    assert_parameter("; name=\"a\\\"b\"", "name", "a\"b");
    (void)state;
}

static void assert_preview(const char *message, const char *expected)
{
    struct mime mime = {.count = 0};
    struct buf out = buf_make(1 << 16);
    assert_true(mime_parse(&mime, str_of(message)));
    assert_true(mailtext_append_preview(&mime, &out));
    assert_str(buf_str(&out), str_of(expected));
    buf_free(&out);
    mime_free(&mime);
}

static void test_previews(void **state)
{
    assert_preview("\r\n> quoted\r\n> more\r\n\r\nAnswer\r\n  here\r\n", "Answer here");
    assert_preview("\r\n> only\r\n> quotes\r\n", "> only > quotes");
    assert_preview(
        "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        "<style>x</style><p>Caf=C3=A9 &amp;&nbsp;<b>cake</b></p>\r\n",
        "Café & cake");
    assert_preview(
        "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: "
        "text/html\r\n\r\n<p>html\r\n"
        "--b\r\nContent-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$BF|K\\\x1b(B\r\n--b--\r\n",
        "日本");
    assert_preview("Content-Type: image/png\r\n\r\nabc\r\n", "");
    assert_preview("Content-Type: text/plain; charset=utf-8\r\n\r\n\xe2\x80\x8b\xc2\xa0\xcd\x8fx\r\n", "x");
    (void)state;
}

static bool collect(void *context, struct str text)
{
    return buf_append_str(context, text);
}

static void test_body_text(void **state)
{
    struct mime mime = {.count = 0};
    struct buf out = buf_make(1 << 16);
    struct mailtext_sink sink = {.take = collect, .context = &out};
    assert_true(mime_parse(
        &mime, STR("Subject: outer\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n"
                   "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?=C3=A9?=\r\n\r\ntwo\r\n"
                   "--b\r\nContent-Type: application/pdf\r\n\r\nthree\r\n--b--\r\n")));
    assert_int_equal(mailtext_body(&mime, &sink), MAILTEXT_DONE);
    assert_str(buf_str(&out), STR("one\nSubject: é\ntwo\n"));
    mime_free(&mime);
    buf_free(&out);
    (void)state;
}

/* The k-th allocation fails: an error and no leak, or a whole result. */
static void test_no_memory(void **state)
{
    static const char text[] =
        "Content-Type: text/html; charset=koi8-r\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        "PHA+8NLJ18XUPC9wPg==\r\n";
    int64_t live = mem_live();
    bool done = false;
    for (uint64_t k = 1; !done; k++) {
        struct mime mime = {.count = 0};
        struct buf out = buf_make(1 << 16);
        mem_fail_at(k, 1);
        bool ok = mime_parse(&mime, str_of(text)) && mailtext_append_preview(&mime, &out) &&
                  encoded_word_append(STR("\xe9 =?koi8-r?q?=F0?="), &out) &&
                  parameter_append_decoded(STR("; a*0=x; a*1*=%41"), STR("a"), &out) &&
                  subject_append_base(STR("re: \xc3\xa9"), NULL, &out);
        done = mem_count() < k;
        mem_fail_at(0, 0);
        assert_int_equal(ok, done);
        if (ok) {
            assert_str(buf_str(&out), STR("Приветé ПxAé"));
        }
        buf_free(&out);
        mime_free(&mime);
        assert_int_equal(mem_live(), live);
        assert_true(k < 1000);
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_charsets),      cmocka_unit_test(test_encoded_words),
        cmocka_unit_test(test_html),          cmocka_unit_test(test_fold),
        cmocka_unit_test(test_base_subjects), cmocka_unit_test(test_ids),
        cmocka_unit_test(test_dates),         cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_previews),      cmocka_unit_test(test_body_text),
        cmocka_unit_test(test_no_memory),
    };
    assert_int_equal(charset_preload(), 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    charset_unload();
    return failed;
}
