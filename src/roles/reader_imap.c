/* What IMAP asks of an open mailbox: flags and changes, messages. Part of the reader role. */
#include "roles/reader_private.h"

#include "base/log.h"
#include "message/summary.h"
#include "store/expunged.h"

enum {
    FIRST_BYTES = 32768,
    SUMMARY_BYTES = 32768,
    PACKED_BYTES = MAILBOX_PACKED_MAX - MAILBOX_PACKED_HEAD - SUMMARY_BYTES,
    SECTION_LEAST = 512, /* octets read at once of a record whose summary is wanted */
    SECTION_MOST = 8192,
    FLUSH_AT = 64 << 10,
    QUEUE_ENOUGH = 4 << 20
};

/* Mailboxes. */

bool reader_keywords(struct reader *r, const struct mailbox *mailbox)
{
    uint64_t bits;
    bool full;
    buf_clear(&r->keywords);
    return flags_keywords(r->index, mailbox, STR_EMPTY, &bits, &r->keywords, &full) == 0;
}

static bool count_run(void *context, const struct flags_run *run)
{
    uint32_t *count = context;
    *count += run->count;
    return true;
}

uint32_t reader_recent(struct reader *r, const struct mailbox *mailbox)
{
    uint32_t count = 0;
    if (mailbox->recent_uid <= 1) {
        return mailbox->messages;
    }
    if (mailbox->recent_uid < mailbox->uid_next &&
        flags_runs(r->index, mailbox, mailbox->recent_uid, 0, count_run, &count) != 0) {
        return 0;
    }
    return count;
}

static void send_end(struct role_peer *peer, uint64_t ticket, enum mailbox_result result, uint32_t next,
                     uint64_t next_offset)
{
    struct mailbox_end end = {
        .ticket = ticket, .result = (uint8_t)result, .next = next, .next_offset = next_offset};
    role_send(peer, &mailbox_end_type, &end);
}

/* Flags. */

struct flags_context {
    struct reader *r;
    struct role_peer *peer;
    uint64_t ticket;
    struct flags_run run; /* the last one, which may become longer */
    unsigned count;
    uint32_t next;
};

static bool put_run(struct flags_context *c)
{
    char bytes[MAILBOX_RUN_SIZE];
    write_le32(bytes, c->run.uid);
    write_le32(bytes + 4, c->run.count << 1 | c->run.rising);
    write_le64(bytes + 8, c->run.flags);
    write_le64(bytes + 16, c->run.modseq);
    return c->run.count == 0 || buf_append(&c->r->bytes, bytes, sizeof(bytes));
}

static bool add_run(void *context, const struct flags_run *run)
{
    struct flags_context *c = context;
    if (c->run.count > 0 && c->run.count <= MAILBOX_RUN_MESSAGES_MAX - run->count &&
        flags_run_join(&c->run, run)) {
        return true;
    }
    if (c->count++ == MAILBOX_RUNS_AT_A_TIME) {
        c->next = run->uid;
        return false;
    }
    bool fine = put_run(c);
    c->run = *run;
    return fine;
}

static void send_vanished(void *context, struct str ranges)
{
    const struct flags_context *c = context;
    while (ranges.len > 0) {
        struct mailbox_vanished part = {.ticket = c->ticket,
                                        .ranges = str_sub(ranges, 0, MAILBOX_RANGES_MAX)};
        role_send(c->peer, &mailbox_vanished_type, &part);
        ranges = str_from(ranges, MAILBOX_RANGES_MAX);
    }
}

void reader_answer_flags(struct reader *r, struct role_peer *peer, const struct mailbox_ask_flags *ask)
{
    struct mailbox_flags answer = {.ticket = ask->ticket, .keywords = STR_EMPTY, .runs = STR_EMPTY};
    enum mailbox_result result;
    const struct open_mailbox *open = reader_use_handle(r, peer, ask->handle, &answer.rights, &result);
    answer.result = (uint8_t)result;
    struct flags_context c = {.r = r, .peer = peer, .ticket = ask->ticket};
    struct mailbox mailbox;
    buf_clear(&r->bytes);
    if (open != NULL) {
        int found = mailbox_find(r->index, open->account, open->mailbox, &mailbox);
        answer.result = found == 0 ? MAILBOX_MISSING : MAILBOX_TEMPORARY;
        if (found == 1 && flags_runs(r->index, &mailbox, ask->uid, ask->since, add_run, &c) == 0 &&
            put_run(&c) && buf_ok(&r->bytes) && reader_keywords(r, &mailbox) &&
            (c.next != 0 || ask->since == 0 ||
             expunged_since(r->index, &mailbox, ask->since, send_vanished, &c) == 0)) {
            answer.result = MAILBOX_OK;
            answer.next = c.next;
            answer.modseq = mailbox.modseq;
            answer.keywords = buf_str(&r->keywords);
            answer.runs = buf_str(&r->bytes);
        }
    }
    role_send(peer, &mailbox_flags_type, &answer);
}

/* Messages. */

struct fetch_context {
    struct reader *r;
    struct role_peer *peer;
    const struct mailbox_fetch *ask;
    uint64_t used; /* octets of the window */
    bool failed;   /* a message could not be read */
    bool full;
    bool moved; /* this one could not be read where the row said: compaction may have moved it meanwhile */
    uint32_t retried; /* the message that was looked up again */
    uint32_t next;
    uint64_t next_offset;
};

struct fetch_row {
    uint32_t uid;
    struct message_place place;
    uint64_t internal_ms;
    uint64_t saved_ms;
};

static bool read_row(sqlite3_stmt *q, struct fetch_row *row)
{
    row->uid = (uint32_t)sqlite3_column_int64(q, 0);
    row->place.recipient = (uint32_t)sqlite3_column_int64(q, 2);
    row->place.size = (uint64_t)sqlite3_column_int64(q, 3);
    row->internal_ms = (uint64_t)sqlite3_column_int64(q, 4);
    row->saved_ms = (uint64_t)sqlite3_column_int64(q, 5);
    row->place.segment = sqlite3_column_int64(q, 6);
    row->place.offset = sqlite3_column_int64(q, 7);
    row->place.octets = (uint32_t)sqlite3_column_int64(q, 8);
    return sql_get_ident(q, 1, &row->place.id);
}

/* A reading takes as much as summaries of late have needed; so one is enough for nearly all of them. */
static void learn_section(struct reader *r, size_t end)
{
    size_t shrunk = r->section_guess - r->section_guess / 64;
    r->section_guess = end > shrunk ? end : shrunk;
    r->section_guess = r->section_guess < SECTION_MOST ? r->section_guess : SECTION_MOST;
}

/* The section of the record that is its summary, into r->section. */
static bool read_section(struct reader *r, const struct message_place *place)
{
    struct record_header header;
    size_t guess = r->section_guess > SECTION_LEAST ? r->section_guess : SECTION_LEAST;
    size_t len = place->octets < guess ? place->octets : guess;
    buf_clear(&r->section);
    char *room = buf_reserve(&r->section, RECORD_HEADER + (size_t)RECORD_SUMMARY_MAX);
    if (room == NULL || len < RECORD_HEADER ||
        !segment_read_at(&r->segments, place->segment, place->offset, room, len) ||
        record_decode_header((const unsigned char *)room, &header) != RECORD_GOOD ||
        memcmp(header.id.bytes, place->id.bytes, IDENT_SIZE) != 0) {
        return false;
    }
    size_t end = RECORD_HEADER + (size_t)header.summary_len;
    learn_section(r, end);
    r->section.len = end;
    return end <= len ||
           segment_read_at(&r->segments, place->segment, place->offset + (int64_t)len, room + len, end - len);
}

/* What was asked for of the summary, into r->summary. False: there is none, or it does not have all of it. */
static bool read_summary(struct fetch_context *c, const struct fetch_row *row)
{
    struct reader *r = c->r;
    struct summary summary;
    struct str encoded;
    struct str text;
    if (!read_section(r, &row->place) ||
        !record_decode_summary(str_from(buf_str(&r->section), RECORD_HEADER), &encoded) ||
        !summary_decode(encoded, &summary)) {
        return false;
    }
    for (unsigned i = 0; i < SUMMARY_TEXT_COUNT; i++) {
        if ((c->ask->texts >> i & 1) != 0 && !summary_text(&summary, (enum summary_text)i, &text)) {
            return false;
        }
    }
    buf_clear(&r->summary);
    return summary_encode_chosen(&summary, c->ask->texts, &r->summary) && r->summary.len <= SUMMARY_BYTES;
}

/* The octets that are wanted of this message: [*from, *to). */
static void wanted(struct fetch_context *c, const struct fetch_row *row, uint64_t *from, uint64_t *to)
{
    const struct mailbox_fetch *ask = c->ask;
    uint64_t size = row->place.size;
    bool octets = (ask->want & MAILBOX_WANT_BODY) != 0;
    buf_clear(&c->r->summary);
    if (!octets && (ask->want & MAILBOX_WANT_SUMMARY) != 0 && !read_summary(c, row)) {
        buf_clear(&c->r->summary);
        octets = true;
    }
    *from = ask->offset < size ? ask->offset : size;
    *to = ask->length < size - *from ? *from + ask->length : size;
    if (!octets) {
        *to = *from;
    }
}

static bool read_bytes(struct fetch_context *c, const struct fetch_row *row, uint64_t at, uint64_t to,
                       size_t most)
{
    size_t len = to - at < most ? (size_t)(to - at) : most;
    buf_clear(&c->r->bytes);
    return len == 0 ||
           (message_read(&c->r->segments, &row->place, at, len, &c->r->bytes) && c->r->bytes.len == len);
}

/*
 * The message is looked up once more, now, or if something of it has been sent by the next question. If it still cannot be
 * read there, that is said.
 */
static void look_again(struct fetch_context *c, const struct fetch_row *row, uint64_t at)
{
    if (at > 0 && (row->uid != c->ask->uid || at != c->ask->from)) {
        c->full = true;
        c->next = row->uid;
        c->next_offset = at;
    } else if (c->retried != row->uid) {
        c->retried = row->uid;
        c->moved = true;
    } else {
        log_error("message %u of an account cannot be read from segment %lld; `veredus verify` says more",
                  row->uid, (long long)row->place.segment);
        c->failed = true;
    }
}

static void send_packed(struct fetch_context *c)
{
    if (c->r->packed.len > 0) {
        struct mailbox_messages messages = {.ticket = c->ask->ticket, .packed = buf_str(&c->r->packed)};
        role_send(c->peer, &mailbox_messages_type, &messages);
        buf_clear(&c->r->packed);
    }
}

/* The rest of a message in pieces, until the window is full. */
static void send_pieces(struct fetch_context *c, const struct fetch_row *row, uint64_t at, uint64_t to)
{
    while (at < to) {
        if (c->used >= c->ask->window || channel_queued(c->peer->channel) > QUEUE_ENOUGH) {
            c->full = true;
            c->next = row->uid;
            c->next_offset = at;
            return;
        }
        if (!read_bytes(c, row, at, to, IPC_CHUNK_MAX)) {
            look_again(c, row, at);
            return;
        }
        at += c->r->bytes.len;
        c->used += c->r->bytes.len;
        struct mailbox_piece piece = {
            .ticket = c->ask->ticket, .last = at == to, .bytes = buf_str(&c->r->bytes)};
        role_send(c->peer, &mailbox_piece_type, &piece);
    }
}

/* Takes out what was appended from `start` on, though not to its end. */
static void drop_from(struct buf *b, size_t start)
{
    buf_truncate(b, start);
    b->failed = false;
}

/* The octets go from the log to where they are sent from. */
static void send_whole(struct fetch_context *c, const struct fetch_row *row,
                       const struct mailbox_message *message, uint64_t from, size_t len)
{
    struct buf *packed = &c->r->packed;
    size_t start = packed->len;
    if (!mailbox_pack(message, len, packed)) {
        drop_from(packed, start);
        send_packed(c);
        start = 0;
        if (!mailbox_pack(message, len, packed)) {
            drop_from(packed, start);
            c->failed = true; /* without memory */
            return;
        }
    }
    size_t head = packed->len;
    if (len > 0 &&
        (!message_read(&c->r->segments, &row->place, from, len, packed) || packed->len - head != len)) {
        drop_from(packed, start);
        look_again(c, row, 0);
        return;
    }
    c->used += len;
}

static void send_message(struct fetch_context *c, const struct fetch_row *row)
{
    uint64_t from;
    uint64_t to;
    wanted(c, row, &from, &to);
    if (row->uid == c->ask->uid && c->ask->from > from) {
        send_packed(c);
        send_pieces(c, row, c->ask->from, to);
        return;
    }
    struct mailbox_message message = {.ticket = c->ask->ticket,
                                      .uid = row->uid,
                                      .size = row->place.size,
                                      .internal_ms = row->internal_ms,
                                      .saved_ms = row->saved_ms,
                                      .record = str_make(row->place.id.bytes, IDENT_SIZE),
                                      .summary = buf_str(&c->r->summary),
                                      .bytes = STR_EMPTY};
    c->used += sizeof(message) + message.summary.len;
    if (to - from <= PACKED_BYTES) {
        send_whole(c, row, &message, from, (size_t)(to - from));
    } else if (!read_bytes(c, row, from, to, FIRST_BYTES)) {
        look_again(c, row, 0);
    } else {
        send_packed(c);
        c->used += c->r->bytes.len;
        message.bytes = buf_str(&c->r->bytes);
        message.whole = from + message.bytes.len == to;
        role_send(c->peer, &mailbox_message_type, &message);
        send_pieces(c, row, from + c->r->bytes.len, to);
    }
}

/* imapd works on what has been sent while the next is read. */
static void flush_many(struct fetch_context *c)
{
    if (channel_queued(c->peer->channel) >= FLUSH_AT) {
        channel_push(c->peer->channel);
    }
}

/* 0, or -1 if the index cannot be read. */
static int send_rows(struct fetch_context *c, const struct open_mailbox *open, const struct uid_range *range)
{
    struct reader *r = c->r;
    struct fetch_row row;
    c->moved = false;
    sqlite3_stmt *q = sql_prepare(r->index, SQL_MESSAGE_READ);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, open->account);
    sql_int(q, 2, open->mailbox);
    sql_int(q, 3, range->first > c->ask->uid ? range->first : c->ask->uid);
    sql_int(q, 4, range->last);
    r->index->error[0] = '\0';
    while (!c->full && !c->moved && sql_row(r->index, q)) {
        if (!read_row(q, &row)) {
            c->failed = true;
        } else if (c->used >= c->ask->window || channel_queued(c->peer->channel) > QUEUE_ENOUGH) {
            c->full = true;
            c->next = row.uid;
            c->next_offset = 0;
        } else {
            send_message(c, &row);
            flush_many(c);
        }
    }
    if (c->full || c->moved) {
        sql_done(q);
    }
    return r->index->error[0] == '\0' ? 0 : -1;
}

static int send_range(struct fetch_context *c, const struct open_mailbox *open, const struct uid_range *range)
{
    struct uid_range rest = *range;
    int result = send_rows(c, open, &rest);
    /* A new reading of the index, which sees the new place. */
    while (result == 0 && c->moved) {
        rest.first = c->retried;
        result = send_rows(c, open, &rest);
    }
    return result;
}

void reader_answer_fetch(struct reader *r, struct role_peer *peer, const struct mailbox_fetch *ask)
{
    enum mailbox_result result;
    uint32_t rights;
    const struct open_mailbox *open = reader_use_handle(r, peer, ask->handle, &rights, &result);
    struct fetch_context c = {.r = r, .peer = peer, .ask = ask};
    struct str rest = ask->ranges;
    struct uid_range range;
    buf_clear(&r->packed);
    while (open != NULL && !c.full && uid_ranges_next(&rest, &range)) {
        if (range.last >= ask->uid && send_range(&c, open, &range) != 0) {
            log_error("the index cannot be read: %s", r->index->error);
            result = MAILBOX_TEMPORARY;
            break;
        }
    }
    if (c.failed) {
        result = MAILBOX_TEMPORARY;
    }
    send_packed(&c);
    send_end(peer, ask->ticket, result, c.next, c.next_offset);
}
