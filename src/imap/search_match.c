/* What a search says of one message; see search_private.h. */
#include "imap/search_private.h"

#include "message/date.h"
#include "message/encoded_word.h"
#include "message/fold.h"
#include "message/header.h"
#include "message/mailtext.h"
#include "message/mime.h"
#include "message/msgid.h"

enum { DAY_MS = 86400000, FIELD_TEXT_MAX = 1 << 20 };

static enum search_value value_of(bool is_true)
{
    return is_true ? SEARCH_TRUE : SEARCH_FALSE;
}

/* Dates. */

static bool compare_day(enum search_op before, enum search_op op, int64_t day, uint64_t wanted)
{
    int64_t than = (int64_t)wanted;
    return op == before ? day < than : op == before + 1 ? day == than : day >= than;
}

static enum search_value match_sent(const struct search_node *node, const struct search_subject *subject)
{
    struct header_field field;
    struct date_parsed date;
    if (!header_find(subject->text, STR("Date"), &field) || !date_parse(field.value, &date)) {
        return SEARCH_FALSE;
    }
    /* The day that the sender's clock showed (RFC 9051, section 6.4.4: disregarding time and timezone). */
    int64_t local = date.seconds + (int64_t)date.zone_minutes * 60;
    int64_t day = local >= 0 ? local / 86400 : -((86399 - local) / 86400);
    return value_of(compare_day(SEARCH_SENT_BEFORE, node->op, day, node->number));
}

/* Text. */

/* Folded text that comes in pieces, looked through for a folded needle. */
struct finder {
    struct str needle;
    struct fold fold;
    struct buf window;
    bool found;
};

static bool look(struct finder *f)
{
    f->found = f->found || str_find_str(buf_str(&f->window), f->needle) != SIZE_MAX;
    /* What a match may begin with stays. */
    if (!f->found && f->window.len >= f->needle.len) {
        buf_consume(&f->window, f->window.len - (f->needle.len - 1));
    }
    return !f->found && buf_ok(&f->window);
}

static bool take_piece(void *context, struct str text)
{
    struct finder *f = context;
    return fold_append(&f->fold, text, &f->window) && look(f);
}

static struct finder finder_of(struct str needle)
{
    return (struct finder){.needle = needle, .window = buf_make(FIELD_TEXT_MAX)};
}

static bool finder_end(struct finder *f)
{
    if (!f->found && fold_end(&f->fold, &f->window)) {
        look(f);
    }
    buf_free(&f->window);
    return f->found;
}

static bool field_has(struct str value, struct str needle)
{
    struct buf decoded = buf_make(FIELD_TEXT_MAX);
    struct finder finder = finder_of(needle);
    if (encoded_word_append(value, &decoded)) {
        take_piece(&finder, buf_str(&decoded));
    }
    buf_free(&decoded);
    return finder_end(&finder);
}

static enum search_value match_header(const struct search_node *node, const struct search_subject *subject)
{
    struct header_iterator iterator = {.message = subject->text};
    struct header_field field;
    while (header_next(&iterator, &field)) {
        if (str_equal_nocase(field.name, node->field) &&
            (node->text.len == 0 || field_has(field.value, node->text))) {
            return SEARCH_TRUE;
        }
    }
    return SEARCH_FALSE;
}

static enum search_value match_thread(const struct search_node *node, const struct search_subject *subject)
{
    char thread[MSGID_THREAD_SIZE];
    return value_of(msgid_thread(subject->text, thread) && str_equal(node->text, str_of(thread)));
}

static enum search_value match_text(const struct search_node *node, const struct search_subject *subject)
{
    struct mime mime = {.parts = NULL};
    struct finder finder = finder_of(node->text);
    struct mailtext_sink sink = {.take = take_piece, .context = &finder};
    if (node->text.len == 0) {
        return SEARCH_TRUE;
    }
    if (mime_parse(&mime, subject->text)) {
        if (node->op == SEARCH_TEXT) {
            mailtext_header(mime.parts[0].header, &sink);
        }
        if (!finder.found) {
            mailtext_body(&mime, &sink);
        }
    }
    mime_free(&mime);
    return value_of(finder_end(&finder));
}

/* Leaves. */

static enum search_value match_meta(const struct search_node *node, const struct imap_message *m)
{
    if (m == NULL) {
        return SEARCH_UNKNOWN;
    }
    switch (node->op) {
    case SEARCH_LARGER: return value_of(m->size > node->number);
    case SEARCH_SMALLER: return value_of(m->size < node->number);
    case SEARCH_BEFORE:
    case SEARCH_ON:
    case SEARCH_SINCE:
        return value_of(
            compare_day(SEARCH_BEFORE, node->op, (int64_t)(m->internal_ms / DAY_MS), node->number));
    case SEARCH_OLDER: return value_of(m->internal_ms <= node->number);
    case SEARCH_YOUNGER: return value_of(m->internal_ms > node->number);
    case SEARCH_EMAIL_ID: return value_of(str_equal(m->email_id, node->text));
    default:
        return value_of(
            compare_day(SEARCH_SAVED_BEFORE, node->op, (int64_t)(m->saved_ms / DAY_MS), node->number));
    }
}

static enum search_value match_leaf(const struct search_node *node, const struct search_subject *subject)
{
    const struct imap_entry *entry = subject->entry;
    switch (node->op) {
    case SEARCH_ALL: return SEARCH_TRUE;
    case SEARCH_NOTHING: return SEARCH_FALSE;
    case SEARCH_FLAGS: return value_of((entry->flags & node->number) == node->number);
    case SEARCH_UIDS: return value_of(imap_set_contains(&node->set, entry->uid));
    case SEARCH_RECENT: return value_of(entry->recent);
    case SEARCH_MODSEQ: return value_of(entry->modseq >= node->number);
    case SEARCH_HEADER: return subject->has_header ? match_header(node, subject) : SEARCH_UNKNOWN;
    case SEARCH_SENT_BEFORE:
    case SEARCH_SENT_ON:
    case SEARCH_SENT_SINCE: return subject->has_header ? match_sent(node, subject) : SEARCH_UNKNOWN;
    case SEARCH_THREAD_ID: return subject->has_header ? match_thread(node, subject) : SEARCH_UNKNOWN;
    case SEARCH_BODY:
    case SEARCH_TEXT: return subject->has_body ? match_text(node, subject) : SEARCH_UNKNOWN;
    default: return match_meta(node, subject->message);
    }
}

static enum search_value combine(enum search_op op, const enum search_value *values, size_t count)
{
    enum search_value decisive = op == SEARCH_AND ? SEARCH_FALSE : SEARCH_TRUE;
    bool unknown = false;
    for (size_t i = 0; i < count; i++) {
        if (values[i] == decisive) {
            return decisive;
        }
        unknown = unknown || values[i] == SEARCH_UNKNOWN;
    }
    return unknown ? SEARCH_UNKNOWN : op == SEARCH_AND ? SEARCH_TRUE : SEARCH_FALSE;
}

bool search_has_text(enum search_op op, struct str field, struct str text,
                     const struct search_subject *subject)
{
    const struct search_node node = {.op = op, .field = field, .text = text};
    return match_leaf(&node, subject) == SEARCH_TRUE;
}

enum search_value search_evaluate(const struct search_program *program, const struct search_subject *subject)
{
    enum search_value *stack = program->values;
    size_t depth = 0;
    for (size_t i = 0; i < program->count; i++) {
        const struct search_node *node = &program->nodes[i];
        if (node->op == SEARCH_NOT) {
            enum search_value value = stack[depth - 1];
            stack[depth - 1] = value == SEARCH_UNKNOWN ? value : value_of(value == SEARCH_FALSE);
        } else if (node->op == SEARCH_AND || node->op == SEARCH_OR) {
            depth -= (size_t)node->number;
            stack[depth] = combine(node->op, &stack[depth], (size_t)node->number);
            depth++;
        } else {
            stack[depth++] = match_leaf(node, subject);
        }
    }
    return stack[0];
}
