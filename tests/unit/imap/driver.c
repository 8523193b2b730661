/* A role for the IMAP engine; see driver.h. */
#include "driver.h"

#include "message/summary.h"
#include "message/terms.h"

#include <stdlib.h>
#include <string.h>

static const char plain[] =
    "From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nSubject: Hello\r\n"
    "Date: Tue, 24 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@example.org>\r\n\r\nFirst\r\n";
static const char mixed[] =
    "From: =?UTF-8?Q?J=C3=BCrgen?= <j@example.org>\r\nSubject: Re: Hello\r\nReferences: <1@example.org>\r\n"
    "Message-ID: <2@example.org>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
    "base64\r\n\r\nR3LDvMOfZQ==\r\n--b\r\n"
    "Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninside\r\n--b--\r\n";
static const char bare[] = "no header here";

static struct driver_box *box_of(struct driver *d, struct str name)
{
    for (size_t i = 0; i < DRIVER_BOXES; i++) {
        if (d->boxes[i].exists && str_equal(str_make(d->boxes[i].name, d->boxes[i].name_len), name)) {
            return &d->boxes[i];
        }
    }
    return NULL;
}

static struct driver_message *add(struct driver *d, struct driver_box *box, struct str text, uint64_t flags)
{
    if (box->count == DRIVER_MESSAGES) {
        return NULL;
    }
    box->modseq = ++d->modseq;
    box->messages[box->count] = (struct driver_message){.uid = box->uid_next++,
                                                        .flags = flags,
                                                        .modseq = box->modseq,
                                                        .internal_ms = 1700000000000,
                                                        .text = text};
    return &box->messages[box->count++];
}

static struct driver_box *make_box(struct driver *d, struct str name)
{
    for (size_t i = 0; i < DRIVER_BOXES; i++) {
        struct driver_box *box = &d->boxes[i];
        if (!box->exists && name.len <= DRIVER_NAME) {
            memset(box, 0, sizeof(*box));
            box->exists = true;
            box->rights = RIGHTS_ALL;
            memcpy(box->name, name.data, name.len);
            box->name_len = name.len;
            box->uid_validity = 1000 + (uint32_t)i;
            box->uid_next = 1;
            box->modseq = ++d->modseq;
            box->id = ++d->last_id;
            return box;
        }
    }
    return NULL;
}

bool driver_init(struct driver *d, bool tls)
{
    memset(d, 0, sizeof(*d));
    d->settings =
        (struct imap_settings){.tls_offered = true,
                               .implicit_tls = tls,
                               .hostname = STR("host.example"),
                               .errors = 10,
                               .append_max = 400,
                               .narrow_from = 1,
                               .login_timeout_ms = 60000,
                               .idle_timeout_ms = 1800000,
                               .doors = {.submission = 587, .imap = 143, .imaps = 993, .pop3s = 995}};
    d->said = buf_make(16 << 20);
    d->appended_uids = buf_make(4096);
    struct driver_box *inbox = make_box(d, STR("INBOX"));
    add(d, inbox, str_of(plain), 0);
    add(d, inbox, str_of(mixed), IMAP_SEEN);
    add(d, inbox, str_of(bare), IMAP_FLAGGED);
    add(d, make_box(d, STR("Work")), str_of(plain), 0);
    d->server = imap_server_new(&d->settings, tls, 0);
    return d->server != NULL;
}

void driver_free(struct driver *d)
{
    imap_server_free(d->server);
    buf_free(&d->said);
    buf_free(&d->appended_uids);
}

/* Answers. */

static struct imap_row row_of(const struct driver_box *box)
{
    struct imap_row row = {.name = str_make(box->name, box->name_len),
                           .exists = true,
                           .subscribed = box->subscribed,
                           .rights = box->rights,
                           .uid_validity = box->uid_validity,
                           .uid_next = box->uid_next,
                           .modseq = box->modseq,
                           .messages = (uint32_t)box->count,
                           .keywords = str_make(box->keywords, box->keywords_len)};
    row.id[IMAP_MAILBOX_ID_SIZE - 1] = box->id;
    for (size_t i = 0; i < box->count; i++) {
        row.unseen += (box->messages[i].flags & IMAP_SEEN) == 0;
    }
    return row;
}

static void list(struct driver *d, struct buf *out)
{
    for (size_t i = 0; i < DRIVER_BOXES; i++) {
        struct imap_row row = row_of(&d->boxes[i]);
        if (d->boxes[i].exists && !imap_server_row(d->server, &row)) {
            imap_server_answered(d->server, IMAP_UNAVAILABLE, 0, out);
            return;
        }
    }
    imap_server_quota(d->server, 1025, d->quota_octets);
    imap_server_answered(d->server, IMAP_DONE, 0, out);
}

static void open_box(struct driver *d, const struct imap_ask *ask, struct buf *out)
{
    struct driver_box *box = box_of(d, ask->name);
    struct imap_row row;
    if (box != NULL) {
        row = row_of(box);
    }
    *(ask->aside ? &d->aside : &d->open) = box;
    imap_server_opened(d->server, box == NULL ? IMAP_NONEXISTENT : IMAP_DONE, box == NULL ? NULL : &row, out);
}

static void entries(struct driver *d, const struct imap_ask *ask, struct buf *out)
{
    const struct driver_box *box = ask->aside ? d->aside : d->open;
    bool fine = true;
    if (box == NULL || !box->exists) {
        imap_server_answered(d->server, IMAP_NONEXISTENT, 0, out);
        return;
    }
    for (size_t i = 0; i < box->count && fine; i++) {
        const struct driver_message *m = &box->messages[i];
        fine = m->modseq <= ask->modseq ||
               imap_server_entries(d->server, &(struct imap_run){m->uid, 1, m->flags, m->modseq, false});
    }
    for (size_t i = 0; i < box->gone_count; i++) {
        if (box->gone_modseq[i] > ask->modseq && ask->modseq > 0) {
            imap_server_vanished(d->server, box->gone[i].first, box->gone[i].last);
        }
    }
    imap_server_keywords(d->server, str_make(box->keywords, box->keywords_len));
    imap_server_own_rights(d->server, box->rights);
    imap_server_answered(d->server, fine ? IMAP_DONE : IMAP_UNAVAILABLE, box->modseq, out);
}

/* Of every other message, as those have that came after summaries were thought of. */
static struct str summary_of(const struct driver_message *m, const struct imap_ask *ask, struct buf *chosen)
{
    struct mime mime = {.parts = NULL};
    struct buf encoded = buf_make(SUMMARY_MAX);
    struct summary summary;
    buf_clear(chosen);
    if ((ask->want & IMAP_WANT_SUMMARY) != 0 && m->uid % 2 == 1 && mime_parse(&mime, m->text) &&
        summary_encode(&mime, STR_EMPTY, &encoded) && summary_decode(buf_str(&encoded), &summary)) {
        summary_encode_chosen(&summary, ask->texts, chosen);
    }
    mime_free(&mime);
    buf_free(&encoded);
    return buf_ok(chosen) ? buf_str(chosen) : STR_EMPTY;
}

static void messages(struct driver *d, const struct imap_ask *ask, struct buf *out)
{
    struct driver_box *box = ask->aside ? d->aside : d->open;
    bool fine = box != NULL;
    struct buf chosen = buf_make(2 * SUMMARY_MAX);
    for (size_t i = 0; fine && i < box->count; i++) {
        const struct driver_message *m = &box->messages[i];
        if (!imap_set_contains(ask->uids, m->uid)) {
            continue;
        }
        struct imap_message message = {.uid = m->uid,
                                       .size = m->text.len,
                                       .internal_ms = m->internal_ms,
                                       .saved_ms = m->internal_ms,
                                       .email_id = STR("abc"),
                                       .summary = summary_of(m, ask, &chosen)};
        fine = imap_server_message(d->server, &message, out);
        if (fine && imap_message_has_octets(ask, &message)) {
            d->bodies++;
            struct str wanted =
                str_from(m->text, ask->offset < m->text.len ? (size_t)ask->offset : m->text.len);
            wanted = str_sub(wanted, 0, ask->length < wanted.len ? (size_t)ask->length : wanted.len);
            size_t half = wanted.len / 2;
            fine = imap_server_bytes(d->server, str_sub(wanted, 0, half), false, out) &&
                   imap_server_bytes(d->server, str_from(wanted, half), true, out);
        }
    }
    buf_free(&chosen);
    imap_server_answered(d->server, fine ? IMAP_DONE : IMAP_UNAVAILABLE, 0, out);
}

/* Whether the message has all terms of one of the alternatives, as a full-text index knows. */
static bool may_be_found(struct str terms, struct str question)
{
    struct str alternative;
    while (question.len > 0 && str_split(&question, ',', &alternative)) {
        struct str term;
        bool all = true;
        while (all && alternative.len > 0 && str_split(&alternative, ' ', &term)) {
            struct str rest = terms;
            struct str other = STR_EMPTY;
            while (rest.len > 0 && str_split(&rest, ' ', &other) && !str_equal(other, term)) {
            }
            all = str_equal(other, term);
        }
        if (all) {
            return true;
        }
    }
    return false;
}

static void narrow(struct driver *d, const struct imap_ask *ask, struct buf *out)
{
    struct driver_box *box = ask->aside ? d->aside : d->open;
    bool fine = box != NULL && d->narrows;
    d->narrowed += fine;
    for (size_t i = 0; fine && i < box->count; i++) {
        struct buf terms = buf_make(1 << 20);
        bool known = terms_of_message(box->messages[i].text, &terms);
        if (!known || may_be_found(buf_str(&terms), ask->question)) {
            imap_server_candidates(d->server, box->messages[i].uid, box->messages[i].uid);
        }
        buf_free(&terms);
    }
    imap_server_answered(d->server, fine ? IMAP_DONE : IMAP_NONEXISTENT, 0, out);
}

/* Changes. */

static uint64_t keyword_bits(struct driver_box *box, struct str names)
{
    struct str name;
    uint64_t bits = 0;
    while (names.len > 0 && str_split(&names, ' ', &name)) {
        struct str all = str_make(box->keywords, box->keywords_len);
        struct str other;
        unsigned number = 0;
        bool found = false;
        while (all.len > 0 && !found && str_split(&all, ' ', &other)) {
            found = other.len > 0 && str_equal_nocase(other, name);
            number += other.len > 0 && !found;
        }
        if (name.len == 0 || number >= IMAP_KEYWORDS_MAX ||
            (!found && box->keywords_len + name.len + 1 > sizeof(box->keywords))) {
            continue;
        }
        if (!found) {
            memcpy(box->keywords + box->keywords_len, name.data, name.len);
            box->keywords[box->keywords_len + name.len] = ' ';
            box->keywords_len += name.len + 1;
        }
        bits |= 1ULL << (IMAP_KEYWORD_FIRST + number);
    }
    return bits;
}

static void pack(struct buf *out, uint32_t uid)
{
    buf_append_le32(out, uid);
    buf_append_le32(out, uid);
}

static void store(struct driver *d, const struct imap_change *change, struct imap_changed *changed,
                  struct buf *failed)
{
    uint64_t bits = change->flags | keyword_bits(d->open, change->keywords);
    for (size_t i = 0; i < d->open->count; i++) {
        struct driver_message *m = &d->open->messages[i];
        if (!imap_set_contains(change->uids, m->uid)) {
            continue;
        }
        if (m->modseq > change->modseq) {
            pack(failed, m->uid);
            continue;
        }
        m->flags = change->operation == IMAP_STORE_REPLACE ? bits
                   : change->operation == IMAP_STORE_ADD   ? m->flags | bits
                                                           : m->flags & ~bits;
        m->modseq = d->open->modseq = d->modseq + 1;
    }
    d->modseq++;
    changed->keywords = str_make(d->open->keywords, d->open->keywords_len);
}

static void expunge(struct driver *d, const struct imap_set *uids, bool all)
{
    struct driver_box *box = d->open;
    size_t kept = 0;
    box->modseq = ++d->modseq;
    for (size_t i = 0; i < box->count; i++) {
        const struct driver_message *m = &box->messages[i];
        if (imap_set_contains(uids, m->uid) && (all || (m->flags & IMAP_DELETED) != 0) &&
            box->gone_count < DRIVER_CHANGES_MAX) {
            box->gone[box->gone_count] = (struct imap_range){m->uid, m->uid};
            box->gone_modseq[box->gone_count++] = box->modseq;
        } else {
            box->messages[kept++] = *m;
        }
    }
    box->count = kept;
}

static void copy(struct driver *d, const struct imap_change *change, struct imap_changed *changed,
                 struct buf *from, struct buf *to)
{
    struct driver_box *target = box_of(d, change->name);
    changed->answer = target == NULL ? IMAP_NONEXISTENT : IMAP_DONE;
    size_t count = d->open->count;
    for (size_t i = 0; target != NULL && i < count; i++) {
        const struct driver_message *m = &d->open->messages[i];
        if (imap_set_contains(change->uids, m->uid)) {
            uint32_t uid = m->uid;
            const struct driver_message *copied = add(d, target, m->text, m->flags & IMAP_SYSTEM_FLAGS);
            if (copied != NULL) {
                pack(from, uid);
                pack(to, copied->uid);
            }
        }
    }
    if (target != NULL) {
        changed->uid_validity = target->uid_validity;
        if (change->kind == IMAP_CHANGE_MOVE) {
            expunge(d, change->uids, true);
        }
    }
}

static void append(struct driver *d, const struct imap_ask *ask, struct imap_changed *changed, struct buf *to)
{
    struct driver_box *target = box_of(d, ask->change.name);
    changed->answer = target == NULL ? IMAP_NONEXISTENT : IMAP_DONE;
    if (target == NULL || d->appended_count == DRIVER_MESSAGES || ask->body.len > sizeof(d->appended[0])) {
        changed->answer = target == NULL ? IMAP_NONEXISTENT : IMAP_OVER_QUOTA;
        return;
    }
    char *text = d->appended[d->appended_count++];
    memcpy(text, ask->body.data, ask->body.len);
    uint64_t bits = ask->change.flags | keyword_bits(target, ask->change.keywords);
    const struct driver_message *m = add(d, target, str_make(text, ask->body.len), bits);
    if (m != NULL) {
        pack(&d->appended_uids, m->uid);
    }
    if (!ask->change.more) {
        buf_append_str(to, buf_str(&d->appended_uids));
        buf_clear(&d->appended_uids);
    }
    changed->uid_validity = target->uid_validity;
    if (ask->change.uids != NULL) {
        expunge(d, ask->change.uids, true);
    }
}

static void change_names(struct driver *d, const struct imap_change *change, struct imap_changed *changed)
{
    struct driver_box *box = box_of(d, change->name);
    bool inbox = str_equal(change->name, STR("INBOX"));
    switch (change->kind) {
    case IMAP_CHANGE_ACL:
        changed->answer = box == NULL ? IMAP_NONEXISTENT : IMAP_DONE;
        if (box != NULL) {
            box->rights = change->operation == IMAP_STORE_REPLACE ? change->rights
                          : change->operation == IMAP_STORE_ADD   ? box->rights | change->rights
                                                                  : box->rights & ~change->rights;
        }
        break;
    case IMAP_CHANGE_CREATE:
        changed->answer = box != NULL                         ? IMAP_ALREADY_EXISTS
                          : make_box(d, change->name) == NULL ? IMAP_LIMIT
                                                              : IMAP_DONE;
        break;
    case IMAP_CHANGE_DELETE:
        changed->answer = box == NULL ? IMAP_NONEXISTENT : inbox ? IMAP_CANNOT : IMAP_DONE;
        if (changed->answer == IMAP_DONE) {
            box->exists = false;
        }
        break;
    case IMAP_CHANGE_RENAME:
        changed->answer = box == NULL || change->other_name.len > DRIVER_NAME ? IMAP_NONEXISTENT
                          : box_of(d, change->other_name) != NULL             ? IMAP_ALREADY_EXISTS
                          : inbox                                             ? IMAP_CANNOT
                                                                              : IMAP_DONE;
        if (changed->answer == IMAP_DONE) {
            memcpy(box->name, change->other_name.data, change->other_name.len);
            box->name_len = change->other_name.len;
        }
        break;
    default:
        if (box != NULL) {
            box->subscribed = change->kind == IMAP_CHANGE_SUBSCRIBE;
        }
        break;
    }
}

/* Annotations. */

static struct driver_annotation *annotation_of(struct driver *d, struct str mailbox, struct str entry)
{
    for (size_t i = 0; i < d->annotation_count; i++) {
        struct driver_annotation *a = &d->annotations[i];
        if (str_equal(str_make(a->mailbox, a->mailbox_len), mailbox) &&
            str_equal(str_make(a->entry, a->entry_len), entry)) {
            return a;
        }
    }
    return NULL;
}

static enum imap_answer annotate(struct driver *d, struct str mailbox, struct str entry, struct str value,
                                 bool removes)
{
    struct driver_annotation *a = annotation_of(d, mailbox, entry);
    if (removes) {
        if (a != NULL) {
            *a = d->annotations[--d->annotation_count];
        }
        return IMAP_DONE;
    }
    if (mailbox.len > DRIVER_NAME || entry.len > DRIVER_NAME || value.len > DRIVER_NAME ||
        (a == NULL && d->annotation_count == DRIVER_ANNOTATIONS)) {
        return IMAP_LIMIT;
    }
    if (a == NULL) {
        a = &d->annotations[d->annotation_count++];
        memcpy(a->mailbox, mailbox.data, mailbox.len);
        memcpy(a->entry, entry.data, entry.len);
    }
    memcpy(a->value, value.data, value.len);
    a->mailbox_len = mailbox.len;
    a->entry_len = entry.len;
    a->value_len = value.len;
    return IMAP_DONE;
}

static void set_metadata(struct driver *d, const struct imap_change *change, struct imap_changed *changed)
{
    struct str rest = change->data;
    if (change->name.len > 0 && box_of(d, change->name) == NULL) {
        changed->answer = IMAP_NONEXISTENT;
    }
    while (rest.len >= 6 && changed->answer == IMAP_DONE) {
        const unsigned char *u = (const unsigned char *)rest.data;
        size_t entry = (size_t)u[0] | (size_t)u[1] << 8;
        uint32_t value = (uint32_t)u[2] | (uint32_t)u[3] << 8 | (uint32_t)u[4] << 16 | (uint32_t)u[5] << 24;
        bool removes = value == UINT32_MAX;
        value = removes ? 0 : value;
        changed->answer = annotate(d, change->name, str_sub(rest, 6, 6 + entry),
                                   str_sub(rest, 6 + entry, 6 + entry + value), removes);
        rest = str_from(rest, 6 + entry + value);
    }
}

static int by_mailbox(const void *a, const void *b)
{
    const struct driver_annotation *x = a;
    const struct driver_annotation *y = b;
    int order = str_compare(str_make(x->mailbox, x->mailbox_len), str_make(y->mailbox, y->mailbox_len));
    return order != 0 ? order
                      : str_compare(str_make(x->entry, x->entry_len), str_make(y->entry, y->entry_len));
}

static void metadata(struct driver *d, const struct imap_ask *ask, struct buf *out)
{
    bool fine = true;
    if (!ask->all && ask->name.len > 0 && box_of(d, ask->name) == NULL) {
        imap_server_answered(d->server, IMAP_NONEXISTENT, 0, out);
        return;
    }
    qsort(d->annotations, d->annotation_count, sizeof(d->annotations[0]), by_mailbox);
    for (size_t i = 0; i < d->annotation_count && fine; i++) {
        const struct driver_annotation *a = &d->annotations[i];
        struct str mailbox = str_make(a->mailbox, a->mailbox_len);
        fine = (!ask->all && !str_equal(mailbox, ask->name)) ||
               imap_server_annotation(d->server, mailbox, str_make(a->entry, a->entry_len),
                                      str_make(a->value, a->value_len));
    }
    imap_server_answered(d->server, fine ? IMAP_DONE : IMAP_UNAVAILABLE, 0, out);
}

/* As the store tells it: who watches hears of its own changes, too. */
static void tell_watcher(struct driver *d, const struct imap_change *change)
{
    unsigned news = change->kind == IMAP_CHANGE_METADATA ? IMAP_NEWS_METADATA
                    : change->kind >= IMAP_CHANGE_CREATE && change->kind <= IMAP_CHANGE_ACL
                        ? IMAP_NEWS_NAMES
                        : IMAP_NEWS_MESSAGES;
    if (d->busy && d->changes % 3 == 0) {
        add(d, &d->boxes[d->changes % 2], str_of(plain), 0);
        news |= IMAP_NEWS_MESSAGES;
    }
    if (d->busy && d->changes % 5 == 0 && d->boxes[2].exists) {
        driver_rename(&d->boxes[2], STR("elsewhere"));
        news |= IMAP_NEWS_NAMES;
    }
    if (d->open != NULL) {
        imap_server_news(d->server);
    }
    if ((d->watched & news) != 0) {
        imap_server_account_news(d->server, d->watched & news);
    }
}

static void change(struct driver *d, const struct imap_ask *ask, struct buf *out)
{
    struct imap_changed changed = {.answer = IMAP_DONE, .keywords = STR_EMPTY};
    struct buf from = buf_make(4096);
    struct buf to = buf_make(4096);
    d->changes++;
    switch (ask->change.kind) {
    case IMAP_CHANGE_FLAGS: store(d, &ask->change, &changed, &from); break;
    case IMAP_CHANGE_EXPUNGE: expunge(d, ask->change.uids, false); break;
    case IMAP_CHANGE_COPY:
    case IMAP_CHANGE_MOVE: copy(d, &ask->change, &changed, &from, &to); break;
    case IMAP_CHANGE_APPEND: append(d, ask, &changed, &to); break;
    case IMAP_CHANGE_METADATA: set_metadata(d, &ask->change, &changed); break;
    case IMAP_CHANGE_FORGET: buf_clear(&d->appended_uids); break;
    case IMAP_CHANGE_SEEN_RECENT: break;
    default: change_names(d, &ask->change, &changed); break;
    }
    changed.modseq = d->modseq;
    changed.source_uids = buf_str(&from);
    changed.target_uids = buf_str(&to);
    tell_watcher(d, &ask->change);
    imap_server_changed(d->server, &changed, out);
    buf_free(&from);
    buf_free(&to);
}

static void fail(struct driver *d, enum imap_request request, struct buf *out)
{
    static const struct imap_changed failed = {.answer = IMAP_UNAVAILABLE};
    if (request == IMAP_OPEN) {
        imap_server_opened(d->server, IMAP_UNAVAILABLE, NULL, out);
    } else if (request == IMAP_CHANGE || request == IMAP_APPEND) {
        imap_server_changed(d->server, &failed, out);
    } else {
        imap_server_answered(d->server, IMAP_UNAVAILABLE, 0, out);
    }
}

/* One entry, "anyone", with the rights that the client has itself: so that a client can take them from itself. */
static void rights(struct driver *d, const struct imap_ask *ask, struct buf *out)
{
    const struct driver_box *box = box_of(d, ask->name);
    if (box != NULL) {
        imap_server_rights(d->server, ask->acl == IMAP_ACL_OWN ? STR_EMPTY : STR("anyone"),
                           ask->acl == IMAP_ACL_POSSIBLE ? 0 : box->rights);
    }
    imap_server_answered(d->server, box == NULL ? IMAP_NONEXISTENT : IMAP_DONE, 0, out);
}

static void verify(struct driver *d, struct buf *out)
{
    bool good = str_equal(imap_server_login_password(d->server), STR("pw"));
    d->verified++;
    d->logged_in += good;
    imap_server_verified(d->server, good ? IMAP_AUTH_GOOD : IMAP_AUTH_BAD, STR("ann@example.org"),
                         STR("grant"), out);
}

/* True: the engine wants nothing more for now. */
static bool answer(struct driver *d, enum imap_request request, struct str *input, struct buf *out)
{
    const struct imap_ask *ask = imap_server_ask(d->server);
    bool question = request == IMAP_LIST || request == IMAP_METADATA || request == IMAP_OPEN ||
                    request == IMAP_WATCH || request == IMAP_ACL || request == IMAP_NARROW ||
                    request == IMAP_ENTRIES || request == IMAP_MESSAGES || request == IMAP_CHANGE ||
                    request == IMAP_APPEND;
    d->questions_before_login += question && d->logged_in == 0;
    if (question && (d->fail_answers || (d->fail_messages && request == IMAP_MESSAGES))) {
        fail(d, request, out);
        return false;
    }
    switch (request) {
    case IMAP_INPUT: return true;
    case IMAP_VERIFY: verify(d, out); return false;
    case IMAP_LIST: list(d, out); return false;
    case IMAP_METADATA: metadata(d, ask, out); return false;
    case IMAP_ACL: rights(d, ask, out); return false;
    case IMAP_NARROW: narrow(d, ask, out); return false;
    case IMAP_OPEN: open_box(d, ask, out); return false;
    case IMAP_ENTRIES: entries(d, ask, out); return false;
    case IMAP_MESSAGES: messages(d, ask, out); return false;
    case IMAP_WATCH:
        d->watched = d->no_watch ? d->watched : ask->news;
        imap_server_answered(d->server, d->no_watch ? IMAP_LIMIT : IMAP_DONE, 0, out);
        return false;
    case IMAP_CHANGE:
    case IMAP_APPEND: change(d, ask, out); return false;
    case IMAP_SHUT: d->open = NULL; return false;
    case IMAP_DRAIN:
    case IMAP_COMPRESS: return false;
    case IMAP_START_TLS:
        input->len = 0;
        imap_server_tls_started(d->server, d->now_ms);
        return false;
    case IMAP_CLOSE: d->closed = true; return true;
    }
    return true;
}

static void keep(struct driver *d, struct buf *out)
{
    d->most = out->len > d->most ? out->len : d->most;
    buf_append_str(&d->said, buf_str(out));
    buf_clear(out);
}

static void run(struct driver *d, struct str input)
{
    struct buf out = buf_make(16 << 20);
    bool rests = false;
    while (!rests) {
        enum imap_request request = imap_server_run(d->server, d->now_ms, 1764000000000, &input, &out);
        keep(d, &out);
        rests = answer(d, request, &input, &out);
    }
    keep(d, &out);
    buf_free(&out);
}

void driver_start(struct driver *d)
{
    struct buf out = buf_make(1 << 20);
    struct str nothing = STR_EMPTY;
    answer(d, imap_server_start(d->server, STR_EMPTY, &out), &nothing, &out);
    keep(d, &out);
    buf_free(&out);
}

void driver_say(struct driver *d, struct str text, size_t split)
{
    while (text.len > 0 && !d->closed) {
        size_t take = split == 0 || split > text.len ? text.len : split;
        run(d, str_sub(text, 0, take));
        text = str_from(text, take);
    }
}

void driver_deliver(struct driver *d, size_t box, struct str text)
{
    add(d, &d->boxes[box], text, 0);
    if (d->open == &d->boxes[box]) {
        imap_server_news(d->server);
    }
    driver_news(d, IMAP_NEWS_MESSAGES);
}

void driver_news(struct driver *d, unsigned news)
{
    imap_server_account_news(d->server, d->watched & news);
    run(d, STR_EMPTY);
}

struct driver_box *driver_make(struct driver *d, struct str name)
{
    return make_box(d, name);
}

void driver_rename(struct driver_box *box, struct str name)
{
    memcpy(box->name, name.data, name.len);
    box->name_len = name.len;
}
