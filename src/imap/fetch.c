/* FETCH: what has been asked of messages, written message by message as they come (RFC 9051, sections 6.4.5 and 7.5.2). */
#include "imap/fetch_private.h"

#include "message/bodystructure.h"
#include "message/date.h"
#include "message/envelope.h"
#include "message/header.h"
#include "message/mailtext.h"
#include "message/msgid.h"

static void free_fetch(void *data)
{
    struct fetch *fetch = data;
    buf_free(&fetch->body);
    mime_free(&fetch->mime);
}

/* Items. */

static void write_literal(struct str text, bool binary, struct buf *out)
{
    buf_append_str(out, binary ? STR("~{") : STR("{"));
    buf_append_u64(out, text.len);
    buf_append_lit(out, "}\r\n");
    buf_append_str(out, text);
}

static bool parse_body(struct fetch *fetch)
{
    if (!fetch->parsed) {
        fetch->parsed = mime_parse(&fetch->mime, buf_str(&fetch->body));
    }
    return fetch->parsed;
}

static struct str part_of(const struct fetch_item *item, struct str text)
{
    if (!item->partial) {
        return text;
    }
    size_t offset = item->offset < text.len ? (size_t)item->offset : text.len;
    return str_sub(str_from(text, offset), 0, (size_t)item->length);
}

static bool find_section(struct fetch *fetch, const struct section *section, struct str *found)
{
    if (fetch->has_summary) {
        *found = fetch->summary.texts[SUMMARY_FIELDS];
        return true;
    }
    return parse_body(fetch) && section_find(&fetch->mime, section, found);
}

static void write_section(struct fetch *fetch, const struct fetch_item *item, struct buf *out)
{
    struct str found;
    if (!find_section(fetch, &item->section, &found)) {
        buf_append_lit(out, "NIL");
        return;
    }
    if (item->field_count == 0) {
        write_literal(part_of(item, found), false, out);
        return;
    }
    struct buf chosen = buf_make(found.len + 2);
    section_append_fields(found, item->fields, item->field_count,
                          item->section.text == SECTION_HEADER_FIELDS_NOT, &chosen);
    write_literal(part_of(item, buf_str(&chosen)), false, out);
    out->failed = out->failed || chosen.failed;
    buf_free(&chosen);
}

static void write_binary(struct fetch *fetch, const struct fetch_item *item, struct buf *out)
{
    struct str body;
    enum transfer_encoding encoding;
    if (!parse_body(fetch) || !section_find_binary(&fetch->mime, &item->section, &body, &encoding)) {
        buf_append_str(out, item->kind == FETCH_BINARY_SIZE ? STR("0") : STR("NIL"));
        return;
    }
    if (encoding == TRANSFER_UNKNOWN) {
        fetch->refused = true;
        buf_append_str(out, item->kind == FETCH_BINARY_SIZE ? STR("0") : STR("NIL"));
        return;
    }
    if (item->kind == FETCH_BINARY_SIZE) {
        buf_append_u64(out, transfer_size(encoding, body));
        return;
    }
    struct buf decoded = buf_make(body.len + TRANSFER_ROOM_MIN);
    transfer_append(encoding, body, &decoded);
    struct str part = part_of(item, buf_str(&decoded));
    write_literal(part, str_find(part, 0, '\0') != SIZE_MAX, out);
    out->failed = out->failed || decoded.failed;
    buf_free(&decoded);
}

/* The fields of a header that are needed, from the summary or from the message itself. */
static struct str header_of(const struct fetch *fetch)
{
    struct str text = buf_str(&fetch->body);
    return fetch->has_summary ? fetch->summary.texts[SUMMARY_FIELDS] : str_sub(text, 0, header_end(text));
}

static void write_thread_id(const struct fetch *fetch, struct buf *out)
{
    char thread[MSGID_THREAD_SIZE];
    if (!msgid_thread(header_of(fetch), thread)) {
        buf_append_lit(out, "NIL");
        return;
    }
    buf_append_char(out, '(');
    buf_append_str(out, str_of(thread));
    buf_append_char(out, ')');
}

static void write_envelope(struct fetch *fetch, struct buf *out)
{
    struct envelope envelope;
    struct str text = buf_str(&fetch->body);
    if (fetch->has_summary) {
        buf_append_str(out, fetch->summary.texts[SUMMARY_ENVELOPE]);
        return;
    }
    envelope_read(str_sub(text, 0, header_end(text)), &envelope);
    envelope_append(&envelope, out);
}

/* RFC 8970: empty where there is no text; NIL only if it was to be had at once and cannot. */
static void write_preview(const struct imap_server *s, struct fetch *fetch, const struct fetch_item *item,
                          struct buf *out)
{
    struct buf text = buf_make(4 * (size_t)MAILTEXT_PREVIEW_MAX + 4);
    bool has_text = fetch->has_summary && fetch->summary.has[SUMMARY_PREVIEW];
    bool has_octets = s->ask.length > 0 && imap_message_has_octets(&s->ask, &fetch->message);
    if (item->lazy && !has_text && !has_octets) {
        buf_append_lit(out, "NIL");
        return;
    }
    if (has_text) {
        imap_string_write(s, fetch->summary.texts[SUMMARY_PREVIEW], out);
        return;
    }
    if (parse_body(fetch) && mailtext_append_preview(&fetch->mime, &text)) {
        imap_string_write(s, buf_str(&text), out);
    } else {
        out->failed = true;
    }
    buf_free(&text);
}

static void write_structure(struct fetch *fetch, bool extended, struct buf *out)
{
    if (fetch->has_summary) {
        buf_append_str(out, fetch->summary.texts[extended ? SUMMARY_BODYSTRUCTURE : SUMMARY_BODY]);
    } else if (parse_body(fetch)) {
        bodystructure_append(&fetch->mime, extended, out);
    } else {
        out->failed = true;
    }
}

static void write_date(uint64_t wall_ms, struct buf *out)
{
    buf_append_char(out, '"');
    date_append_imap(wall_ms, out);
    buf_append_char(out, '"');
}

static void write_value(struct imap_server *s, struct fetch *fetch, const struct fetch_item *item,
                        struct buf *out)
{
    const struct imap_message *message = &fetch->message;
    switch (item->kind) {
    case FETCH_UID: buf_append_u64(out, fetch->entry->uid); break;
    case FETCH_FLAGS:
        imap_write_flags(s, fetch->entry->flags, fetch->entry->recent, out);
        s->selected.view.changed -= fetch->entry->changed;
        fetch->entry->changed = false;
        break;
    case FETCH_MODSEQ:
        buf_append_char(out, '(');
        buf_append_u64(out, fetch->entry->modseq);
        buf_append_char(out, ')');
        break;
    case FETCH_INTERNALDATE: write_date(message->internal_ms, out); break;
    case FETCH_SIZE: buf_append_u64(out, message->size); break;
    case FETCH_SAVEDATE: write_date(message->saved_ms, out); break;
    case FETCH_EMAILID:
        buf_append_char(out, '(');
        buf_append_str(out, message->email_id);
        buf_append_char(out, ')');
        break;
    case FETCH_THREADID: write_thread_id(fetch, out); break;
    case FETCH_ENVELOPE: write_envelope(fetch, out); break;
    case FETCH_BODY:
    case FETCH_BODYSTRUCTURE: write_structure(fetch, item->kind == FETCH_BODYSTRUCTURE, out); break;
    case FETCH_PREVIEW: write_preview(s, fetch, item, out); break;
    case FETCH_SECTION: write_section(fetch, item, out); break;
    case FETCH_BINARY:
    case FETCH_BINARY_SIZE: write_binary(fetch, item, out); break;
    }
}

/* A message. */

static void write_begin(const struct imap_server *s, const struct fetch *fetch, struct buf *out)
{
    buf_append_lit(out, "* ");
    if (imap_is_enabled(s, IMAP_ENABLED_UIDONLY)) {
        buf_append_u64(out, fetch->entry->uid);
        buf_append_lit(out, " UIDFETCH (");
        return;
    }
    buf_append_u64(out, (uint64_t)(fetch->entry - s->selected.view.entries) + 1);
    buf_append_lit(out, " FETCH (");
}

/* All items but the streamed one; flags also where they have changed and nobody asked. */
static void write_items(struct imap_server *s, struct fetch *fetch, struct buf *out)
{
    static const struct fetch_item flags = {.kind = FETCH_FLAGS, .name = {"FLAGS", 5}};
    bool first = true;
    for (size_t i = 0; i <= fetch->item_count; i++) {
        const struct fetch_item *item = i < fetch->item_count ? &fetch->items[i] : &flags;
        if ((i == fetch->item_count && !fetch->entry->changed) ||
            (fetch->streaming && item->kind >= FETCH_ENVELOPE) ||
            (item->kind == FETCH_UID && imap_is_enabled(s, IMAP_ENABLED_UIDONLY))) {
            continue;
        }
        if (!first) {
            buf_append_char(out, ' ');
        }
        first = false;
        buf_append_str(out, item->name);
        buf_append_char(out, ' ');
        write_value(s, fetch, item, out);
    }
    if (fetch->streaming && !first) {
        buf_append_char(out, ' ');
    }
}

void fetch_write(struct imap_server *s, struct fetch *fetch, struct buf *out)
{
    write_begin(s, fetch, out);
    write_items(s, fetch, out);
    buf_append_lit(out, ")\r\n");
}

void fetch_write_head(struct imap_server *s, struct fetch *fetch, struct buf *out)
{
    const struct fetch_item *item = fetch->items;
    while (item->kind < FETCH_ENVELOPE) {
        item++;
    }
    uint64_t size = fetch->message.size;
    if (item->partial) {
        size = item->offset < size ? size - item->offset : 0;
        size = item->length < size ? item->length : size;
    }
    fetch->left = size;
    write_begin(s, fetch, out);
    write_items(s, fetch, out);
    buf_append_str(out, item->name);
    buf_append_lit(out, " {");
    buf_append_u64(out, size);
    buf_append_lit(out, "}\r\n");
}

/* Messages as they come. */

static bool message_came(struct imap_server *s, const struct imap_message *message, struct buf *out)
{
    struct fetch *fetch = s->data;
    fetch->entry = imap_view_entry(&s->selected.view, message->uid);
    fetch->message = *message;
    fetch->parsed = false;
    fetch->has_summary = message->summary.len > 0;
    buf_clear(&fetch->body);
    if (fetch->entry == NULL) {
        return true; /* newer than the view */
    }
    if (fetch->has_summary && !summary_decode(message->summary, &fetch->summary)) {
        return false;
    }
    if (!imap_message_has_octets(&s->ask, message)) {
        fetch_write(s, fetch, out);
    } else if (fetch->streaming) {
        fetch_write_head(s, fetch, out);
    }
    return buf_ok(out);
}

static bool stream_bytes(struct imap_server *s, struct fetch *fetch, struct str bytes, bool last,
                         struct buf *out)
{
    buf_append_str(out, str_sub(bytes, 0, (size_t)(bytes.len < fetch->left ? bytes.len : fetch->left)));
    fetch->left -= bytes.len < fetch->left ? bytes.len : fetch->left;
    if (last && fetch->left > 0) {
        s->closed = true; /* in the middle of a literal nothing can be said */
        s->close_reason = "a message is shorter than the index says";
        return false;
    }
    return !last || buf_append_lit(out, ")\r\n");
}

static bool bytes_came(struct imap_server *s, struct str bytes, bool last, struct buf *out)
{
    struct fetch *fetch = s->data;
    if (fetch->entry == NULL) {
        return true;
    }
    if (fetch->streaming) {
        return stream_bytes(s, fetch, bytes, last, out);
    }
    if (!buf_append_str(&fetch->body, bytes)) {
        return false;
    }
    if (last) {
        fetch_write(s, fetch, out);
    }
    return buf_ok(out);
}

/* The command. */

static enum imap_request fetched(struct imap_server *s, struct buf *out)
{
    const struct fetch *fetch = s->data;
    if (fetch->then != NULL) {
        return fetch->then(s, out);
    }
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    return fetch->refused ? imap_no(s, out, "[UNKNOWN-CTE] ",
                                    "A part has a transfer encoding that this server does not know")
                          : imap_ok(s, out, "", "Fetched");
}

/* Only what the view knows has been asked. */
static enum imap_request fetch_from_view(struct imap_server *s, struct buf *out)
{
    struct fetch *fetch = s->data;
    struct imap_view *view = &s->selected.view;
    for (; fetch->at < view->count; fetch->at++) {
        fetch->entry = &view->entries[fetch->at];
        uint32_t next = imap_set_next(&s->uids, fetch->entry->uid);
        if (next == 0) {
            break;
        }
        if (next != fetch->entry->uid) {
            fetch->at = imap_view_find(view, next) - 1;
            continue;
        }
        fetch_write(s, fetch, out);
        if (out->len > IMAP_CHUNK) {
            fetch->at++;
            s->proceed = fetch_from_view;
            return IMAP_DRAIN;
        }
    }
    s->answer = IMAP_DONE;
    return fetched(s, out);
}

static enum imap_request begin_fetch(struct imap_server *s, struct buf *out)
{
    struct fetch *fetch = s->data;
    bool octets;
    unsigned want = fetch_want(fetch, &s->ask.texts, &octets);
    if (s->uids.count == 0) {
        return imap_ok(s, out, "", "No such messages");
    }
    if (want == 0) {
        return fetch_from_view(s, out);
    }
    fetch->streaming = fetch_is_streamed(fetch);
    s->message = message_came;
    s->bytes = bytes_came;
    s->ask.uids = &s->uids;
    s->ask.want = want;
    s->ask.offset = 0;
    s->ask.length = octets ? UINT64_MAX : 0;
    for (size_t i = 0; fetch->streaming && i < fetch->item_count; i++) {
        if (fetch->items[i].partial) {
            s->ask.offset = fetch->items[i].offset;
            s->ask.length = fetch->items[i].length;
        }
    }
    return imap_ask(s, IMAP_MESSAGES, fetched);
}

enum imap_request imap_fetch_news(struct imap_server *s, const struct fetch *items,
                                  enum imap_request (*then)(struct imap_server *s, struct buf *out),
                                  struct buf *out)
{
    struct fetch *fetch = imap_command_data(s, sizeof(*fetch), free_fetch);
    if (fetch == NULL) {
        s->answer = IMAP_UNAVAILABLE;
        return then(s, out);
    }
    *fetch = *items;
    fetch->body = buf_make(s->settings->append_max + 2 * IMAP_LINE_MAX);
    fetch->then = then;
    return begin_fetch(s, out);
}

/* Seeing a message marks it as seen: first, so that the reply can tell. */
static enum imap_request seen_stored(struct imap_server *s, struct buf *out)
{
    struct imap_view *view = &s->selected.view;
    for (size_t i = 0; s->answer == IMAP_DONE && i < view->count; i++) {
        if (imap_set_contains(&s->numbers, view->entries[i].uid)) {
            view->entries[i].flags |= IMAP_SEEN;
            imap_view_announce(view, &view->entries[i]);
        }
    }
    s->news = true;
    return begin_fetch(s, out);
}

static bool take_unseen(struct imap_server *s)
{
    const struct imap_view *view = &s->selected.view;
    imap_set_clear(&s->numbers);
    for (size_t i = 0; i < view->count; i++) {
        const struct imap_entry *entry = &view->entries[i];
        if ((entry->flags & IMAP_SEEN) == 0 && imap_set_contains(&s->uids, entry->uid)) {
            imap_set_append(&s->numbers, entry->uid, entry->uid);
        }
    }
    s->ask.change = (struct imap_change){.kind = IMAP_CHANGE_FLAGS,
                                         .name = buf_str(&s->selected.name),
                                         .uids = &s->numbers,
                                         .operation = IMAP_STORE_ADD,
                                         .flags = IMAP_SEEN,
                                         .keywords = STR_EMPTY,
                                         .modseq = UINT64_MAX};
    return s->numbers.count > 0;
}

/* PARTIAL (RFC 9394, section 3.3): leaves the messages of this range of the set. */
static bool take_part(struct imap_server *s, const struct fetch *fetch)
{
    struct imap_set part = imap_set_make();
    uint64_t count = imap_set_size(&s->uids);
    uint64_t end = fetch->partial_last < count ? fetch->partial_last : count;
    uint64_t begin = fetch->partial_first - 1 < end ? fetch->partial_first - 1 : end;
    uint64_t first = fetch->from_end ? count - end : begin; /* of the messages, before `last` */
    uint64_t last = fetch->from_end ? count - begin : end;
    uint64_t at = 0;
    bool fine = true;
    for (size_t r = 0; r < s->uids.count && fine; r++) {
        struct imap_range range = s->uids.ranges[r];
        uint64_t size = (uint64_t)range.last - range.first + 1;
        uint64_t from = at > first ? at : first;
        uint64_t to = at + size < last ? at + size : last;
        if (from < to) {
            fine = imap_set_append(&part, range.first + (uint32_t)(from - at),
                                   range.first + (uint32_t)(to - 1 - at));
        }
        at += size;
    }
    imap_set_free(&s->uids);
    s->uids = part;
    return fine;
}

/* CHANGEDSINCE: leaves only what is newer; VANISHED: tells what of the set is not there. */
static bool narrow(struct imap_server *s, const struct fetch *fetch, struct buf *out)
{
    struct imap_set newer = imap_set_make();
    const struct imap_view *view = &s->selected.view;
    bool fine = true;
    if (fetch->vanished) {
        imap_tell_vanished(s, &s->numbers, out);
    }
    for (size_t i = 0; fine && i < view->count; i++) {
        const struct imap_entry *entry = &view->entries[i];
        if (entry->modseq > fetch->since && imap_set_contains(&s->uids, entry->uid)) {
            fine = imap_set_append(&newer, entry->uid, entry->uid);
        }
    }
    imap_set_free(&s->uids);
    s->uids = newer;
    return fine;
}

enum imap_request imap_command_fetch(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    enum imap_request request;
    struct fetch *fetch = imap_command_data(s, sizeof(*fetch), free_fetch);
    if (fetch == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    fetch->body = buf_make(s->settings->append_max + 2 * IMAP_LINE_MAX);
    if (!imap_take_set(s, scan, out, &request)) {
        return request;
    }
    if (!fetch_parse(s, scan, fetch)) {
        return imap_bad(s, out, scan, "FETCH takes messages and items");
    }
    if (fetch->partial && !take_part(s, fetch)) {
        return imap_no_answer(s, out, IMAP_LIMIT, false);
    }
    if (fetch->has_since && !narrow(s, fetch, out)) {
        return imap_no_answer(s, out, IMAP_LIMIT, false);
    }
    if (fetch->partial && imap_is_over_limit(s, imap_set_size(&s->uids))) {
        return imap_no_limit(s, out);
    }
    if (!imap_limit_set(s, &s->uids)) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    if (fetch_sets_seen(fetch) && !s->selected.read_only && (s->selected.rights & RIGHT_SEEN) != 0 &&
        take_unseen(s)) {
        return imap_ask(s, IMAP_CHANGE, seen_stored);
    }
    return begin_fetch(s, out);
}
