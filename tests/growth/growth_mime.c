/*
 * Hostile messages for what is made of every message at delivery: its structure and its summary; see growth.h. Not here: what costs
 * more than the limit an octet at first, and is bounded as a whole. Empty parts ("--b" again and again) take 430 instructions an
 * octet until there are 10,000, and addresses of three octets 270 until the summary is full.
 */
#include "growth.h"

#include "message/summary.h"

static void run_summary(struct str input)
{
    struct mime mime = {.parts = NULL};
    struct buf out = buf_make(SUMMARY_MAX);
    if (mime_parse(&mime, input)) {
        (void)summary_encode(&mime, STR("Received: from test\r\n"), &out);
    }
    mime_free(&mime);
    buf_free(&out);
}

#define TEN(x)              x x x x x x x x x x
#define MULTIPART(boundary) "Content-Type: multipart/mixed; boundary=" boundary "\r\n\r\n--" boundary "\r\n"
#define MESSAGE_INSIDE      "Content-Type: message/rfc822\r\n\r\n"
#define HTML                "Content-Type: text/html\r\n\r\n"
#define ENCODED(encoding)   "Content-Transfer-Encoding: " encoding "\r\n\r\n"

static const struct growth_case cases[] = {
    {"mime-lines", "\r\n", "\r\n", "", run_summary},
    {"mime-dashes", MULTIPART("b"), "--\r\n", "", run_summary},
    {"mime-open-multiparts", "", MULTIPART("b"), "", run_summary},
    {"mime-nearly-delimiters", TEN(MULTIPART("xa")) TEN(MULTIPART("xa")), "--xb\r\n", "", run_summary},
    {"mime-long-nearly-delimiters", TEN(MULTIPART("xaaaaaaaaaaaaaaaaaaaaaa")),
     "--xaaaaaaaaaaaaaaaaaaaaab\r\n", "", run_summary},
    {"mime-messages", "", MESSAGE_INSIDE, "", run_summary},
    {"mime-messages-in-parts", MULTIPART("b"), "--b\r\n" MESSAGE_INSIDE "\r\n", "", run_summary},
    {"mime-parameters", "Content-Type: text/plain", "; a=b", "\r\n\r\n", run_summary},
    {"mime-parameter-sections", "Content-Type: text/plain", "; a*0=b", "\r\n\r\n", run_summary},
    {"mime-parameter-quotes", "Content-Type: text/plain; a=\"", "\\\"", "\"\r\n\r\n", run_summary},
    {"mime-parameter-comments", "Content-Type: text/plain", "(", "\r\n\r\n", run_summary},
    {"mime-content-types", "", "Content-Type: a/b\r\n", "\r\n", run_summary},
    {"mime-languages", "Content-Language: ", "a,", "\r\n\r\n", run_summary},
    {"mime-names-of-fields", "", "content-\r\n", "\r\n", run_summary},
    {"summary-no-fields", "", ":\r\n", "\r\n", run_summary},
    {"summary-fields", "", "To:\r\n", "\r\n", run_summary},
    {"summary-list-fields", "", "List-:\r\n", "\r\n", run_summary},
    {"summary-groups", "Cc: ", "g:;", "\r\n\r\n", run_summary},
    {"summary-names", "Cc: ", "\"\\a\" <a@b>,", "\r\n\r\n", run_summary},
    {"summary-subject-words", "Subject: ", "=?utf-8?q?a?= ", "\r\n\r\n", run_summary},
    {"summary-subject-replies", "Subject: ", "Re: ", "\r\n\r\n", run_summary},
    {"summary-subject-blobs", "Subject: ", "[a] ", "x\r\n\r\n", run_summary},
    {"summary-subject-forwards", "Subject: ", "[Fwd: ", "\r\n\r\n", run_summary},
    {"summary-subject-octets", "Subject: ", "\xff", "\r\n\r\n", run_summary},
    {"summary-dates", "Date: ", "(", "\r\n\r\n", run_summary},
    {"summary-folds", "Subject: a\r\n", " \r\n", "\r\n", run_summary},
    {"preview-tags", HTML, "<a>", "", run_summary},
    {"preview-open-tags", HTML, "<", "", run_summary},
    {"preview-entities", HTML, "&amp;", "", run_summary},
    {"preview-comments", HTML, "<!--", "", run_summary},
    {"preview-scripts", HTML, "<script>", "", run_summary},
    {"preview-blanks", ENCODED("quoted-printable"), "=20", "", run_summary},
    {"preview-soft-breaks", ENCODED("quoted-printable"), "=\r\n", "", run_summary},
    {"preview-base64", ENCODED("base64"), "ICAg\r\n", "", run_summary},
};

const struct growth_table growth_mime = {cases, sizeof(cases) / sizeof(cases[0])};
