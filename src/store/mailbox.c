/* Mailboxes in the index; see mailbox.h. */
#include "store/mailbox.h"

#include "message/trace.h"
#include "store/account.h"
#include "store/events.h"
#include "store/flags.h"
#include "store/payload.h"

void mailbox_read_row(sqlite3_stmt *q, struct mailbox *mailbox)
{
    *mailbox = (struct mailbox){.account = sqlite3_column_int64(q, 0),
                                .id = sqlite3_column_int64(q, 1),
                                .uid_validity = (uint32_t)sqlite3_column_int64(q, 2),
                                .uid_next = (uint32_t)sqlite3_column_int64(q, 3),
                                .modseq = (uint64_t)sqlite3_column_int64(q, 4),
                                .messages = (uint32_t)sqlite3_column_int64(q, 5),
                                .unseen = (uint32_t)sqlite3_column_int64(q, 6),
                                .deleted = (uint32_t)sqlite3_column_int64(q, 7),
                                .octets = (uint64_t)sqlite3_column_int64(q, 8),
                                .recent_uid = (uint32_t)sqlite3_column_int64(q, 9),
                                .paged_uid = (uint32_t)sqlite3_column_int64(q, 10),
                                .special_use = (uint32_t)sqlite3_column_int64(q, 11)};
}

int mailbox_find(struct index *index, int64_t account, int64_t id, struct mailbox *mailbox)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MAILBOX_FIND);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, account);
    sql_int(q, 2, id);
    index->error[0] = '\0';
    if (!sql_row(index, q)) {
        return index->error[0] == '\0' ? 0 : -1;
    }
    mailbox_read_row(q, mailbox);
    sql_done(q);
    return 1;
}

int mailbox_set(struct index *index, const struct mailbox *mailbox)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MAILBOX_SET);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, mailbox->uid_next);
    sql_int(q, 4, (int64_t)mailbox->modseq);
    sql_int(q, 5, mailbox->messages);
    sql_int(q, 6, mailbox->unseen);
    sql_int(q, 7, mailbox->deleted);
    sql_int(q, 8, (int64_t)mailbox->octets);
    sql_int(q, 9, mailbox->recent_uid);
    sql_int(q, 10, mailbox->paged_uid);
    events_mailbox(index, mailbox);
    index_touch(index, mailbox->account, mailbox->id, TOUCH_MESSAGES);
    return sql_run(index, q);
}

int mailbox_entries(struct index *index, const struct mailbox *mailbox, uint32_t uid,
                    struct mailbox_entry *entries, int max)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MESSAGE_LIST);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, uid);
    sql_int(q, 4, max);
    int count = 0;
    index->error[0] = '\0';
    while (count < max && sql_row(index, q)) {
        entries[count++] = (struct mailbox_entry){.uid = (uint32_t)sqlite3_column_int64(q, 0),
                                                  .size = (uint64_t)sqlite3_column_int64(q, 1),
                                                  .internal_ms = (uint64_t)sqlite3_column_int64(q, 2)};
    }
    sql_done(q);
    return index->error[0] == '\0' ? count : -1;
}

int64_t mailbox_count(struct index *index, const struct mailbox *mailbox)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MESSAGE_COUNT);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    if (!sql_row(index, q)) {
        return -1;
    }
    int64_t count = sqlite3_column_int64(q, 0);
    sql_done(q);
    return count;
}

/* The row is there: what else changes with it. */
static void count_filed(struct index *index, struct mailbox *mailbox, const struct filing *f)
{
    events_filed(index, &(struct filed_event){.account = mailbox->account,
                                              .mailbox = mailbox->id,
                                              .uid = mailbox->uid_next,
                                              .filing = *f});
    mailbox->uid_next++;
    mailbox->modseq = f->modseq;
    mailbox->messages++;
    mailbox->unseen += (f->flags & FLAG_SEEN) == 0;
    mailbox->deleted += (f->flags & FLAG_DELETED) != 0;
    mailbox->octets += f->size;
}

int message_file(struct index *index, struct mailbox *mailbox, const struct filing *f, uint32_t *uid)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MESSAGE_ADD);
    if (q == NULL) {
        return -1;
    }
    *uid = mailbox->uid_next;
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, *uid);
    sql_blob(q, 4, f->record.bytes, IDENT_SIZE);
    sql_int(q, 5, f->recipient);
    sql_int(q, 6, (int64_t)f->size);
    sql_int(q, 7, (int64_t)f->internal_ms);
    sql_int(q, 8, (int64_t)f->modseq);
    sql_int(q, 9, (int64_t)f->flags);
    sql_int(q, 10, (int64_t)f->saved_ms);
    if (sql_run(index, q) != 0) {
        return -1;
    }
    count_filed(index, mailbox, f);
    return 0;
}

int messages_file_alike(struct index *index, const struct mailbox *from, uint32_t first_uid,
                        struct mailbox *mailbox, const struct filing *filings, size_t count)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MESSAGE_COPY);
    if (q == NULL) {
        return -1;
    }
    sql_bind_range(q, from, &(struct uid_range){first_uid, first_uid + (uint32_t)count - 1});
    sql_int(q, 5, mailbox->account);
    sql_int(q, 6, mailbox->id);
    sql_int(q, 7, mailbox->uid_next);
    sql_int(q, 8, (int64_t)filings->modseq);
    sql_int(q, 9, (int64_t)filings->flags);
    sql_int(q, 10, (int64_t)filings->saved_ms);
    if (sql_run(index, q) != 0) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        count_filed(index, mailbox, &filings[i]);
    }
    return 0;
}

int message_find(struct index *index, const struct mailbox *mailbox, uint32_t uid,
                 struct message_place *place)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MESSAGE_GET);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, uid);
    index->error[0] = '\0';
    if (!sql_row(index, q)) {
        return index->error[0] == '\0' ? 0 : -1;
    }
    bool fine = sql_get_ident(q, 0, &place->id);
    place->recipient = (uint32_t)sqlite3_column_int64(q, 1);
    place->size = (uint64_t)sqlite3_column_int64(q, 2);
    place->segment = sqlite3_column_int64(q, 3);
    place->offset = sqlite3_column_int64(q, 4);
    place->octets = (uint32_t)sqlite3_column_int64(q, 5);
    sql_done(q);
    return fine ? 1 : -1;
}

bool message_prefix(struct str envelope, uint32_t recipient, struct buf *out)
{
    struct record_envelope e;
    struct record_recipient r = {.address = STR_EMPTY};
    if (recipient == MESSAGE_APPENDED) {
        return true;
    }
    if (!record_decode_envelope(envelope, &e)) {
        return false;
    }
    struct str rest = e.recipients;
    for (uint32_t i = 0; i <= recipient; i++) {
        if (!record_next_recipient(&rest, &r)) {
            return false;
        }
    }
    return trace_append_return_path(e.sender, out) && trace_append_delivered_to(r.address, out);
}

/* Appends the part of [offset, offset + length) that falls into a piece of `size` octets beginning at *at. */
static bool copy_piece(struct str piece, uint64_t *at, uint64_t offset, size_t length, struct buf *out)
{
    uint64_t start = *at;
    *at += piece.len;
    if (offset >= *at || offset + length <= start) {
        return true;
    }
    size_t from = offset > start ? (size_t)(offset - start) : 0;
    uint64_t end = offset + length - start;
    return buf_append_str(out, str_sub(piece, from, end > piece.len ? piece.len : (size_t)end));
}

bool message_read(struct segments *segments, const struct message_place *place, uint64_t offset,
                  size_t length, struct buf *out)
{
    struct payload payload;
    if (!payload_open(segments, place->segment, place->offset, place->octets, &place->id, &payload)) {
        return false;
    }
    struct buf envelope = buf_make(RECORD_ENVELOPE_MAX);
    struct buf prefix = buf_make(4096);
    uint64_t at = 0;
    bool fine = payload_read(&payload, 0, payload.header.envelope_len, &envelope) &&
                message_prefix(buf_str(&envelope), place->recipient, &prefix) &&
                copy_piece(buf_str(&prefix), &at, offset, length, out);
    /* Trace header and body lie side by side in the log. */
    uint64_t end = offset + length;
    uint64_t from = offset > at ? offset - at : 0;
    if (fine && end > at + from) {
        fine = payload_read(&payload, payload.header.envelope_len + from, (size_t)(end - at - from), out);
    }
    buf_free(&envelope);
    buf_free(&prefix);
    return fine;
}

int record_keep(struct index *index, const struct record_header *header, int64_t segment, int64_t offset,
                int64_t refs)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_RECORD_ADD);
    if (q == NULL) {
        return -1;
    }
    sql_blob(q, 1, header->id.bytes, IDENT_SIZE);
    sql_int(q, 2, segment);
    sql_int(q, 3, offset);
    sql_int(q, 4, header->total);
    sql_int(q, 5, refs);
    if (sql_run(index, q) != 0 || sqlite3_changes(index->db) == 0) {
        return -1;
    }
    events_record(index, &header->id, segment, offset, header->total);
    return segment_add_live(index, segment, header->total);
}

/* The last reference is given up: the record is dead. 0, or -1. */
static int record_end(struct index *index, const struct ident *id)
{
    sqlite3_stmt *get = sql_prepare(index, SQL_RECORD_GET);
    if (get == NULL) {
        return -1;
    }
    sql_blob(get, 1, id->bytes, IDENT_SIZE);
    index->error[0] = '\0';
    if (!sql_row(index, get)) {
        return index->error[0] == '\0' ? 0 : -1;
    }
    int64_t segment = sqlite3_column_int64(get, 0);
    int64_t octets = sqlite3_column_int64(get, 2);
    sql_done(get);
    sqlite3_stmt *remove = sql_prepare(index, SQL_RECORD_REMOVE);
    if (remove == NULL) {
        return -1;
    }
    sql_blob(remove, 1, id->bytes, IDENT_SIZE);
    return sql_run(index, remove) == 0 ? segment_add_live(index, segment, -octets) : -1;
}

int record_release(struct index *index, const struct ident *id)
{
    sqlite3_stmt *drop = sql_prepare(index, SQL_RECORD_DROP_REF);
    if (drop == NULL) {
        return -1;
    }
    sql_blob(drop, 1, id->bytes, IDENT_SIZE);
    if (sql_run(index, drop) != 0) {
        return -1;
    }
    return sqlite3_changes(index->db) > 0 ? 0 : record_end(index, id);
}

void sql_bind_range(sqlite3_stmt *q, const struct mailbox *mailbox, const struct uid_range *range)
{
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, range->first);
    sql_int(q, 4, range->last);
}

/* How many there were. */
static int run_for_range(struct index *index, enum statement which, const struct mailbox *mailbox,
                         const struct uid_range *range, int64_t by, size_t *records)
{
    sqlite3_stmt *q = sql_prepare(index, which);
    if (q == NULL) {
        return -1;
    }
    sql_bind_range(q, mailbox, range);
    if (by != 0) {
        sql_int(q, 5, by);
    }
    int result = sql_run(index, q);
    *records = result == 0 ? (size_t)sqlite3_changes(index->db) : 0;
    return result;
}

int records_keep(struct index *index, const struct mailbox *mailbox, const struct uid_range *range,
                 size_t *records)
{
    return run_for_range(index, SQL_RECORDS_CHANGE_REFS, mailbox, range, 1, records);
}

int records_release(struct index *index, const struct mailbox *mailbox, const struct uid_range *range,
                    size_t *records)
{
    return run_for_range(index, SQL_RECORDS_CHANGE_REFS, mailbox, range, -1, records);
}

int records_end(struct index *index, const struct mailbox *mailbox, const struct uid_range *range,
                size_t *records)
{
    return run_for_range(index, SQL_RECORDS_END, mailbox, range, 0, records);
}
