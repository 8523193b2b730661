/*
 * 2,430 messages of a mailing list (../shared/vectors/corpus): each is parsed, its structures can be sent, its summary reads
 * back, its text is UTF-8; and the sums over all of them are those that Python's email package finds.
 */
#include "message/addresslist.h"
#include "message/bodystructure.h"
#include "message/charset.h"
#include "message/envelope.h"
#include "message/fold.h"
#include "message/mailtext.h"
#include "message/section.h"
#include "message/summary.h"
#include "vectors.h"

#include <stdio.h>
#include <zlib.h>

struct sums {
    unsigned messages;
    unsigned parts;
    unsigned texts;
    unsigned multiparts;
    unsigned inner;
    unsigned quoted_printable;
    unsigned base64;
    unsigned dates;
    int64_t date_seconds;
    unsigned previews;
    uint64_t folded; /* bytes */
};

static bool read_archive(const char *name, struct buf *out)
{
    static char area[1 << 16];
    *out = buf_make((size_t)64 << 20);
    gzFile file = gzopen(name, "rb");
    int len = 0;
    while (file != NULL && (len = gzread(file, area, sizeof(area))) > 0) {
        buf_append(out, area, (size_t)len);
    }
    if (file != NULL) {
        (void)gzclose(file);
    }
    return file != NULL && len == 0 && buf_ok(out);
}

static void check_summary(const struct mime *mime, struct buf *out, struct sums *sums)
{
    struct summary summary;
    struct str text;
    buf_clear(out);
    assert_true(summary_encode(mime, STR_EMPTY, out));
    assert_true(summary_decode(buf_str(out), &summary));
    for (unsigned i = 0; i < SUMMARY_TEXT_COUNT; i++) {
        assert_true(summary_text(&summary, (enum summary_text)i, &text));
    }
    assert_int_equal(summary.part_count, mime->count);
    sums->dates += summary.has_date;
    sums->date_seconds += summary.date_seconds;
    assert_true(summary_text(&summary, SUMMARY_PREVIEW, &text));
    sums->previews += text.len > 0;
}

/* Fields in front that were not parsed with the message make the same summary as those that were, but for where the parts are. */
static void check_fields_before(struct str message, struct mime *mime, struct buf *out)
{
    static const struct str before = {"Received: from x\r\n by y\r\nDate: Mon, 2 Nov 2026 10:00:00 +0100\r\n",
                                      63};
    struct buf joined = buf_make((size_t)8 << 20);
    struct buf whole = buf_make(SUMMARY_MAX);
    buf_clear(out);
    assert_true(summary_encode(mime, before, out));
    assert_true(buf_append_str(&joined, before) && buf_append_str(&joined, message));
    assert_true(mime_parse(mime, buf_str(&joined)));
    assert_true(summary_encode(mime, STR_EMPTY, &whole));
    assert_true(str_equal(buf_str(out), buf_str(&whole)));
    buf_free(&joined);
    buf_free(&whole);
}

struct folder {
    struct fold fold;
    struct buf out;
    struct sums *sums;
};

static bool fold_sink(void *context, struct str text)
{
    struct folder *folder = context;
    assert_true(str_is_utf8(text));
    buf_clear(&folder->out);
    assert_true(fold_append(&folder->fold, text, &folder->out));
    folder->sums->folded += folder->out.len;
    return true;
}

static void check_text(const struct mime *mime, struct sums *sums)
{
    struct folder folder = {.out = buf_make(1 << 20), .sums = sums};
    struct mailtext_sink sink = {.take = fold_sink, .context = &folder};
    assert_int_equal(mailtext_header(mime->parts[0].header, &sink), MAILTEXT_DONE);
    assert_int_equal(mailtext_body(mime, &sink), MAILTEXT_DONE);
    buf_free(&folder.out);
}

static void check_parts(const struct mime *mime, struct sums *sums)
{
    for (uint32_t i = 0; i < mime->count; i++) {
        const struct mime_part *part = &mime->parts[i];
        sums->parts++;
        sums->texts += part->kind == MIME_TEXT;
        sums->multiparts += part->kind == MIME_MULTIPART;
        sums->inner += part->kind == MIME_MESSAGE;
        sums->quoted_printable += part->encoding == TRANSFER_QUOTED_PRINTABLE;
        sums->base64 += part->encoding == TRANSFER_BASE64;
        assert_int_not_equal(part->encoding, TRANSFER_UNKNOWN);
        assert_true(part->kind != MIME_TEXT || charset_find(mime_charset(part)) != CHARSET_UNKNOWN);
    }
}

static void check_message(struct str message, struct mime *mime, struct buf *out, struct sums *sums)
{
    assert_true(mime_parse(mime, message));
    assert_false(mime->cut);
    assert_int_equal(mime->parts[0].header.len + mime->parts[0].body.len, message.len);
    sums->messages++;
    check_parts(mime, sums);
    check_summary(mime, out, sums);
    check_text(mime, sums);
    check_fields_before(message, mime, out);
}

static const char *archive;

static void test_corpus(void **state)
{
    struct buf text;
    struct buf crlf = buf_make((size_t)64 << 20);
    struct buf out = buf_make(SUMMARY_MAX);
    struct mime mime = {.count = 0};
    struct sums sums = {.messages = 0};
    assert_true(read_archive(archive, &text));
    vectors_to_crlf(buf_str(&text), &crlf);
    struct str rest = buf_str(&crlf);
    size_t start = 0; /* of a message, behind its "From " line */
    for (size_t at = 0; at <= rest.len;) {
        size_t end = str_find(rest, at, '\n');
        bool begins = at == rest.len || str_starts(str_from(rest, at), STR("From "));
        if (begins && start > 0) {
            check_message(str_sub(rest, start, at), &mime, &out, &sums);
        }
        at = end == SIZE_MAX ? rest.len + (at == rest.len) : end + 1;
        start = begins ? at : start;
    }
    assert_int_equal(sums.messages, 2430);
    assert_int_equal(sums.parts, 3343);
    assert_int_equal(sums.texts, 2474 + 43 + 15 + 11 + 3 + 1 + 1 + 1);
    assert_int_equal(sums.multiparts, 332 + 74 + 40);
    assert_int_equal(sums.inner, 3);
    assert_int_equal(sums.quoted_printable, 367);
    assert_int_equal(sums.base64, 20);
    assert_int_equal(sums.dates, 2428);
    assert_int_equal(sums.date_seconds, 2587619145757);
    assert_int_equal(sums.previews, 2429); /* one has an empty body */
    assert_true(sums.folded > 7000000);
    mime_free(&mime);
    buf_free(&text);
    buf_free(&crlf);
    buf_free(&out);
    (void)state;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_corpus)};
    static char path[512];
    vectors_begin(argc, argv);
    (void)snprintf(path, sizeof(path), "%s/corpus/list-archive.mbox.gz", argv[1]);
    archive = path;
    assert_int_equal(charset_preload(), 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
