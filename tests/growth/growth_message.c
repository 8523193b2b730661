/* Hostile headers and addresses for the parsers of the message layer; see growth.h. */
#include "growth.h"

#include "config/doors.h"
#include "message/address.h"
#include "message/header.h"
#include "message/lookalike.h"
#include "message/msgid.h"
#include "message/path.h"
#include "message/submit.h"
#include "message/terms.h"
#include "message/trace.h"

static void run_addresses(struct str input)
{
    struct address_iterator iterator = address_iterate(input);
    struct address_mailbox mailbox;
    while (address_next(&iterator, &mailbox) == ADDRESS_MAILBOX) {
        char area[512];
        struct buf normal = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        if (iterator.count <= SUBMIT_SENDERS_MAX) {
            (void)address_append_normal(&mailbox, &normal);
        }
    }
}

static void run_path(struct str input)
{
    struct path path;
    (void)path_parse(input, true, true, &path);
}

/* What a submitted header goes through, but for the removal of fields. */
static void run_header(struct str input)
{
    struct arena arena = arena_make(1 << 20);
    struct submit_senders senders;
    bool date = false;
    bool message_id = false;
    (void)trace_count_received(input);
    (void)submit_read_senders(input, &arena, &senders);
    submit_missing(input, &date, &message_id);
    arena_free(&arena);
}

static void run_unfold(struct str input)
{
    struct buf text = buf_make(1 << 20);
    (void)header_end(input);
    (void)header_unfold(input, &text);
    (void)trace_was_delivered_to(input, STR("b@here.example"));
    buf_free(&text);
}

static void run_removal(struct str input)
{
    struct buf message = buf_make(1 << 20);
    buf_append_str(&message, input);
    submit_remove_fields(&message, true);
    buf_free(&message);
}

static void run_terms(struct str input)
{
    struct buf terms = buf_make((size_t)TERMS_MAX * TERM_SIZE_MAX);
    (void)terms_of_message(input, &terms);
    buf_free(&terms);
}

static void run_needle(struct str input)
{
    struct buf terms = buf_make(1 << 20);
    (void)terms_of_needle(input, 12, &terms);
    buf_free(&terms);
}

static void run_thread(struct str input)
{
    char thread[MSGID_THREAD_SIZE];
    (void)msgid_thread(input, thread);
}

static void run_lookalike(struct str input)
{
    struct buf skeleton = buf_make(1 << 20);
    (void)lookalike_fault(input);
    (void)lookalike_skeleton(input, &skeleton);
    buf_free(&skeleton);
}

static void run_door(struct str input)
{
    (void)door_of_line(input);
    (void)door_is_tls(input);
}

#define UTF8_TEXT "Content-Type: text/plain; charset=utf-8\r\n\r\n"

static const struct growth_case cases[] = {
    {"terms-words", UTF8_TEXT, "word ", "", run_terms},
    {"terms-different", UTF8_TEXT,
     "Lorem ipsum dolor sit amet, consectetuer adipiscing elit 0123456789 sed diam\r\n", "", run_terms},
    {"terms-without-blanks", UTF8_TEXT, "\xe6\x9d\xb1\xe4\xba\xac", "", run_terms},
    {"terms-marks", UTF8_TEXT, "\xcc\x81", "", run_terms},
    {"terms-header", "", "Subject: =?utf-8?q?=C3=A9?=\r\n", "\r\n", run_terms},
    {"terms-needle", "", "ab ", "", run_needle},
    {"lookalike-ascii", "", "a", "", run_lookalike},
    {"lookalike-letters", "", "\xd0\xb0", "", run_lookalike},
    {"lookalike-marks", "a", "\xcc\x81", "", run_lookalike},
    {"lookalike-wide", "", "\xef\xbd\x81", "", run_lookalike},
    {"lookalike-invisible", "a", "\xe2\x80\x8b", "", run_lookalike},
    {"lookalike-broken", "", "\xff", "", run_lookalike},
    {"door-words", "", "GET ", "", run_door},
    {"door-blanks", "", " ", "GET / HTTP/1.1", run_door},
    {"door-one-word", "", "x", "", run_door},
    {"door-tls", "\x16\x03\x01", "\x01", "", run_door},
    {"thread-references", "References: ", "<a@b> ", "\r\n\r\n", run_thread},
    {"thread-comments", "Message-ID: ", "(", "<a@b>\r\n\r\n", run_thread},
    {"address-mailboxes", "", "a@b,", "", run_addresses},
    {"address-commas", "", ",", "", run_addresses},
    {"address-open-comments", "", "(", "", run_addresses},
    {"address-comments", "a", "(b)", "@c", run_addresses},
    {"address-comments-and-mailboxes", "", "a@b(", "", run_addresses},
    {"address-quotes", "", "\"", "", run_addresses},
    {"address-quoted-pairs", "\"", "\\", "", run_addresses},
    {"address-open-angles", "", "<", "", run_addresses},
    {"address-angles", "", "x <a@b>,", "", run_addresses},
    {"address-display-words", "", "x ", "<a@b>", run_addresses},
    {"address-groups", "", "g:;", "", run_addresses},
    {"address-open-groups", "", "g:", "", run_addresses},
    {"address-open-literals", "a@", "[", "", run_addresses},
    {"address-route", "<", "@a,", ":b@c>", run_addresses},
    {"address-blanks", "", " ", "a@b", run_addresses},
    {"address-dots", "a", ".", "@b", run_addresses},
    {"path-route", "<", "@a,", ":b@c>", run_path},
    {"path-quoted", "<\"", "\\a", "\"@c>", run_path},
    {"path-dots", "<a", ".a", "@c>", run_path},
    {"path-domain", "<a@", "b.", "c>", run_path},
    {"path-domain-utf8", "<a@", "\xc3\xbc.", "c>", run_path},
    {"header-fields", "", "a:\r\n", "\r\n", run_header},
    {"header-folds", "a:\r\n", " \r\n", "\r\n", run_header},
    {"header-no-fields", "", "a\r\n", "\r\n", run_header},
    {"header-one-line", "", "a", "", run_header},
    {"header-colons", "", ":", "\r\n", run_header},
    {"header-long-names", "", "a a a a a a a a a a a a a a a a:\r\n", "\r\n", run_header},
    {"header-delivered-to", "", "Delivered-To:\r\n", "\r\n", run_header},
    {"header-unfold", "a:\r\n", " \r\n", "", run_unfold},
    {"header-unfold-fields", "", "a:\r\n", "\r\n", run_unfold},
    {"submit-bcc", "", "Bcc: a\r\n", "\r\n", run_removal},
    {"submit-bcc-between", "", "Bcc: a\r\nX: b\r\n", "\r\n", run_removal},
    {"submit-bcc-folds", "Bcc:\r\n", " a,\r\n", "\r\n", run_removal},
};

const struct growth_table growth_message = {cases, sizeof(cases) / sizeof(cases[0])};
