/* Mailboxes in the index; see mailbox.h. */
#include "store/mailbox.h"

#include "message/trace.h"
#include "store/account.h"

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
    *mailbox = (struct mailbox){.account = account,
                                .id = id,
                                .uid_validity = (uint32_t)sqlite3_column_int64(q, 0),
                                .uid_next = (uint32_t)sqlite3_column_int64(q, 1),
                                .modseq = (uint64_t)sqlite3_column_int64(q, 2)};
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
    return sql_run(index, q);
}

int mailbox_entries(struct index *index, const struct mailbox *mailbox, uint32_t uid, struct mailbox_entry *entries,
                    int max)
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

int message_find(struct index *index, const struct mailbox *mailbox, uint32_t uid, struct message_place *place)
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

bool message_read(struct segments *segments, const struct message_place *place, uint64_t offset, size_t length,
                  struct buf *out)
{
    unsigned char bytes[RECORD_HEADER];
    struct record_header header;
    if (!segment_read_at(segments, place->segment, place->offset, bytes, RECORD_HEADER) ||
        record_decode_header(bytes, &header) != RECORD_GOOD ||
        memcmp(header.id.bytes, place->id.bytes, IDENT_SIZE) != 0) {
        return false;
    }
    struct buf envelope = buf_make(RECORD_ENVELOPE_MAX);
    struct buf prefix = buf_make(4096);
    char *room = buf_reserve(&envelope, header.envelope_len);
    bool fine = room != NULL &&
                segment_read_at(segments, place->segment, place->offset + RECORD_HEADER, room, header.envelope_len);
    if (fine) {
        envelope.len = header.envelope_len;
        fine = message_prefix(buf_str(&envelope), place->recipient, &prefix);
    }
    uint64_t at = 0;
    fine = fine && copy_piece(buf_str(&prefix), &at, offset, length, out);
    /* Trace header and body lie side by side in the log. */
    uint64_t text = (uint64_t)header.trace_len + header.body_len;
    uint64_t end = offset + length;
    uint64_t from = offset > at ? offset - at : 0;
    uint64_t to = end > at ? end - at : 0;
    to = to > text ? text : to;
    if (fine && from < to) {
        room = buf_reserve(out, (size_t)(to - from));
        fine = room != NULL &&
               segment_read_at(segments, place->segment,
                               place->offset + RECORD_HEADER + header.envelope_len + (int64_t)from, room,
                               (size_t)(to - from));
        out->len += fine ? (size_t)(to - from) : 0;
    }
    buf_free(&envelope);
    buf_free(&prefix);
    return fine;
}

int record_release(struct index *index, const struct ident *id)
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
    int64_t refs = sqlite3_column_int64(get, 3);
    sql_done(get);
    sqlite3_stmt *change = sql_prepare(index, refs > 1 ? SQL_RECORD_SET_REFS : SQL_RECORD_REMOVE);
    if (change == NULL) {
        return -1;
    }
    sql_blob(change, 1, id->bytes, IDENT_SIZE);
    if (refs > 1) {
        sql_int(change, 2, refs - 1);
        return sql_run(index, change);
    }
    return sql_run(index, change) == 0 ? segment_add_live(index, segment, -octets) : -1;
}

int message_remove(struct index *index, const struct mailbox *mailbox, uint32_t uid)
{
    struct message_place place;
    int found = message_find(index, mailbox, uid, &place);
    if (found <= 0) {
        return found;
    }
    sqlite3_stmt *q = sql_prepare(index, SQL_MESSAGE_REMOVE);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, uid);
    if (sql_run(index, q) != 0 || record_release(index, &place.id) != 0 ||
        account_add_used(index, mailbox->account, -(int64_t)place.size, -1) != 0) {
        return -1;
    }
    return 1;
}
