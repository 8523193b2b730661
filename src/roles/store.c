/*
 * The store role: the only writer of the index. Applies the log every 50 to 100 ms, together with whatever else waits, in one
 * transaction; answers only what has been committed. It has the data directory and no network.
 */
#include "roles/store_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "ipc/proto_auth.h"
#include "ipc/proto_credential.h"
#include "ipc/proto_log.h"
#include "roles/store_admin.h"
#include "store/batch.h"
#include "store/events.h"
#include "store/reindex.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    SPACE_INTERVAL_MS = 500,
    CHECKPOINT_INTERVAL_MS = 1000,
    RETRY_MS = 500,
    COMPLAINT_FIRST_MS = 5000,
    COMPLAINT_MOST_MS = 60000,
    LOCK_TRIES = 100,
    LOCK_PAUSE_US = 100000
};

/* Transactions. */

/* At once, and whenever it is for another reason; the same again at growing intervals. */
static void complain(struct store *s)
{
    uint64_t now = loop_now(s->role->loop);
    bool same = s->failures > 0 && str_equal(str_of(s->complaint), str_of(s->index->error));
    s->failures++;
    if (same && now < s->complaint_ms) {
        return;
    }
    uint64_t pause = same ? COMPLAINT_MOST_MS : COMPLAINT_FIRST_MS;
    s->complaint_ms = now + pause;
    memcpy(s->complaint, s->index->error, sizeof(s->complaint));
    log_error("the index cannot be changed: %s; it is tried again (failures in a row: %llu)", s->complaint,
              (unsigned long long)s->failures);
}

bool store_begin(struct store *s)
{
    if (index_begin(s->index) == 0) {
        return true;
    }
    complain(s);
    return false;
}

bool store_commit(struct store *s)
{
    bool logged = !events_pending(s->index) || store_segments_write_events(s);
    if (!logged && s->index->error[0] == '\0') {
        snprintf(s->index->error, sizeof(s->index->error),
                 "what it changes cannot be written to the log; the disk may be full");
    }
    if (logged && index_commit(s->index) == 0) {
        store_watch_tell(s);
        store_segments_applied(s);
        if (s->failures > 0) {
            log_warning("the index can be changed again, after %llu failures",
                        (unsigned long long)s->failures);
            s->failures = 0;
        }
        return true;
    }
    store_rollback(s);
    return false;
}

void store_rollback(struct store *s)
{
    complain(s);
    index_rollback(s->index);
    apply_abort(s->applier);
    store_segments_rolled_back(s);
    store_queue_rolled_back(s);
}

static int write_events(struct store *s)
{
    for (size_t i = 0; i < s->event_count; i++) {
        const struct store_event *e = &s->events[i];
        if (journal_add(s->index, &e->id, e->wall_ms, JOURNAL_REFUSED, str_make(e->text, e->len)) != 0) {
            return -1;
        }
    }
    return 0;
}

static int do_requests(struct store *s)
{
    for (struct store_request *r = s->requests; r != NULL; r = r->next) {
        r->failed = false;
        int result = r->kind == REQUEST_RESULT   ? store_queue_do(s, r)
                     : r->kind == REQUEST_CHANGE ? store_change_do(s, r)
                                                 : store_mailbox_do(s, r);
        if (result != 0) {
            return -1;
        }
    }
    return 0;
}

static void answer_requests(struct store *s, bool committed)
{
    struct store_request *list = s->requests;
    s->requests = NULL;
    s->last_request = &s->requests;
    while (list != NULL) {
        struct store_request *r = list;
        list = r->next;
        if (r->kind == REQUEST_RESULT && !committed) {
            /* What became of a delivery must not be forgotten: it waits for the next transaction. */
            r->next = NULL;
            *s->last_request = r;
            s->last_request = &r->next;
            continue;
        }
        if (r->kind == REQUEST_RESULT) {
            store_queue_answer(s, r, committed);
        } else if (r->kind == REQUEST_CHANGE) {
            store_change_answer(s, r, committed);
        } else {
            store_mailbox_answer(s, r, committed);
        }
        buf_free(&r->uids);
        buf_free(&r->packet);
        mem_free(r);
    }
}

static bool apply_all(struct store *s, bool *more)
{
    if (store_segments_apply(s, more) != 0 || apply_finish(s->applier) != 0) {
        return false;
    }
    return do_requests(s) == 0 && write_events(s) == 0 && store_queue_reports(s) == 0;
}

static bool has_work(const struct store *s)
{
    return store_segments_pending(s) || s->event_count > 0 || s->requests != NULL;
}

bool store_tick(struct store *s)
{
    bool more = false;
    struct apply_counts before = s->totals;
    bool work = has_work(s);
    s->tick_planned = false;
    bool fine = store_begin(s);
    if (fine && !apply_all(s, &more)) {
        store_rollback(s);
        fine = false;
    } else if (fine) {
        fine = store_commit(s);
    }
    if (!fine) {
        s->totals = before;
        answer_requests(s, false);
        loop_timer_start(s->role->loop, &s->apply_timer, RETRY_MS, false, (void (*)(void *))store_soon, s);
        return false;
    }
    s->event_count = 0;
    s->worked_ms = work ? clock_monotonic_ms() : s->worked_ms;
    answer_requests(s, true);
    store_queue_run(s);
    if (more) {
        store_soon(s);
    }
    return true;
}

static void run_tick(void *context)
{
    store_tick(context);
}

void store_soon(struct store *s)
{
    loop_defer(s->role->loop, &s->task, run_tick, s);
}

static void apply_due(void *context)
{
    struct store *s = context;
    if (has_work(s)) {
        store_soon(s);
    } else {
        s->tick_planned = false;
    }
}

/* What has been flushed may wait a little, so that one transaction takes more of it. */
static void plan_tick(struct store *s)
{
    if (!s->tick_planned) {
        s->tick_planned = true;
        loop_timer_start(s->role->loop, &s->apply_timer, s->config->store.apply_interval_ms, false, apply_due,
                         s);
    }
}

struct store_request *store_request_add(struct store *s, struct role_peer *peer, uint64_t ticket)
{
    struct store_request *r = mem_new(struct store_request);
    if (r != NULL) {
        r->peer_kind = peer->kind;
        r->peer_instance = peer->instance;
        r->ticket = ticket;
        r->uids = buf_make(IPC_CHUNK_MAX);
        r->packet = buf_make(IPC_PACKET_MAX);
        *s->last_request = r;
        s->last_request = &r->next;
        store_soon(s);
    }
    return r;
}

void store_directory_changed(struct store *s)
{
    struct log_directory_changed changed = {.generation = ++s->directory_generation};
    applier_forget(s->applier);
    for (struct role_peer *p = s->role->peers; p != NULL; p = p->next) {
        if (p->kind == ROLE_SMTPD_MX || p->kind == ROLE_SMTPD_MSA) { /* imapd remembers nobody */
            role_send(p, &log_directory_changed_type, &changed);
        }
    }
}

/* Space on the disk. */

static void tell_space(struct store *s, struct role_peer *only)
{
    struct log_space space = {.accepting = s->accepting,
                              .free_bytes = s->free_octets > 0 ? (uint64_t)s->free_octets : 0,
                              .reserve_bytes = s->config->store.reserve};
    for (struct role_peer *p = s->role->peers; p != NULL; p = p->next) {
        if (store_segments_writes(p->kind) && (only == NULL || p == only)) {
            role_send(p, &log_space_type, &space);
        }
    }
}

static void check_space(void *context)
{
    struct store *s = context;
    s->free_octets = s->segments.io->free_space(s->segments.dir);
    bool accepting = s->free_octets < 0 || (uint64_t)s->free_octets > s->config->store.reserve;
    if (accepting != s->accepting) {
        s->accepting = accepting;
        log_warning("%lld MiB of the disk are free, %llu MiB are kept in reserve: new mail is %s",
                    (long long)(s->free_octets >> 20), (unsigned long long)(s->config->store.reserve >> 20),
                    accepting ? "accepted again" : "deferred until there is room");
        tell_space(s, NULL);
    }
    store_segments_check_orphans(s);
    if (accepting) {
        for (struct role_peer *p = s->role->peers; p != NULL; p = p->next) {
            store_segments_supply(s, p);
        }
    }
}

static void checkpoint(void *context)
{
    struct store *s = context;
    index_checkpoint(s->index);
}

/* Refusals, for the journal. */

static void take_event(struct store *s, const struct log_event *event)
{
    if (s->event_count == STORE_EVENTS_MAX) {
        return; /* a flood: the log lines of the session's role have the numbers */
    }
    struct store_event *e = &s->events[s->event_count++];
    struct buf text = {.data = e->text, .cap = sizeof(e->text), .limit = sizeof(e->text)};
    e->wall_ms = event->wall_ms;
    e->id = ident_make(event->wall_ms, clock_monotonic_us() * STORE_EVENTS_MAX + s->event_count);
    buf_append_u64(&text, event->code);
    buf_append_char(&text, ' ');
    buf_append_escaped(&text, event->enhanced, 16);
    buf_append_lit(&text, " client=");
    buf_append_escaped(&text, event->client, 64);
    if (event->sender.len > 0) {
        buf_append_lit(&text, " from=<");
        buf_append_escaped(&text, event->sender, 200);
        buf_append_char(&text, '>');
    }
    if (event->recipient.len > 0) {
        buf_append_lit(&text, " to=<");
        buf_append_escaped(&text, event->recipient, 200);
        buf_append_char(&text, '>');
    }
    buf_append_char(&text, ' ');
    buf_append_escaped(&text, event->cause, 200);
    e->len = text.len;
    plan_tick(s);
}

/* Life. */

static struct store *state_of(struct role *role)
{
    if (role->data == NULL) {
        struct store *s = mem_new(struct store);
        if (s != NULL) {
            s->role = role;
            s->admin_fd = -1;
            s->accepting = true;
            s->last_request = &s->requests;
            s->events = mem_zalloc(STORE_EVENTS_MAX, sizeof(*s->events));
        }
        role->data = s;
    }
    return role->data;
}

/* The exit code that tells the supervisor whether trying again is of any use. */
static int exit_code_of(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
    case EROFS: return EX_NOPERM;
    case ENOENT:
    case ENOTDIR: return EX_NOINPUT;
    default: return EX_TEMPFAIL;
    }
}

/* `error`: what the system said, 0 if nothing. */
static int exit_code_of_index(int code, int error)
{
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_OK: /* the tables are those of another version */
    case SQLITE_ROW:
    case SQLITE_DONE:
    case SQLITE_ERROR: return EX_DATAERR;
    case SQLITE_PERM:
    case SQLITE_READONLY: return EX_NOPERM;
    case SQLITE_CANTOPEN: return exit_code_of(error);
    default: return EX_TEMPFAIL;
    }
}

/* What failed may have been the log or memory: where SQLite has nothing to say it may pass. */
static int exit_code_of_work(int code)
{
    bool silent = code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE;
    return silent ? EX_TEMPFAIL : exit_code_of_index(code, 0);
}

/*
 * The supervisor's lock ends with the supervisor; this one ends with the store's process, so a store that is still on its way
 * out and its successor never write the index at the same time.
 */
static bool lock_index(struct role *role)
{
    int fd = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    for (int tries = 0; fd >= 0 && tries < LOCK_TRIES; tries++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            return true; /* the descriptor stays open as long as the process lives */
        }
        usleep(LOCK_PAUSE_US);
    }
    if (fd < 0) {
        role->exit_code = exit_code_of(errno);
        log_error("the store's lock file, %s/lock, cannot be opened: %s; does the directory belong to the "
                  "user that the store "
                  "runs as?",
                  role->data_dir, strerror(errno));
    } else {
        log_error("the store's lock cannot be had: %s; another store is still running", strerror(errno));
        close(fd);
    }
    return false;
}

static void secret(struct role *role, enum secret_kind kind, struct str name, int fd)
{
    (void)name;
    struct store *s = state_of(role);
    struct buf key = buf_make(256);
    if (role_read_fd(fd, 256, &key) && s != NULL && kind == SECRET_GRANT_KEY && key.len == GRANT_KEY_SIZE) {
        memcpy(s->grant_key, key.data, GRANT_KEY_SIZE);
        s->has_grant_key = true;
    }
    buf_wipe(&key);
}

static bool is_whole(struct store *s)
{
    int older = reindex_is_older(s->index, &s->segments);
    if (older > 0) {
        log_error("the index is older than the log, as if its write-ahead log had been lost or a copy put "
                  "back: run `veredus reindex` "
                  "before the server is started again");
        s->role->exit_code = EX_DATAERR;
    } else if (older < 0) {
        log_error("the log cannot be compared with the index: %s", s->index->error);
    }
    return older == 0;
}

static int open_index(struct store *s)
{
    struct buf errors = buf_make(4096);
    int code = SQLITE_OK;
    s->index = index_open_coded("index.db", true, &errors, &code);
    if (s->index == NULL) {
        s->role->exit_code = exit_code_of_index(code, errno);
        log_error("the index cannot be opened: %.*s", STR_ARGS(buf_str(&errors)));
    } else {
        index_note_events(s->index, true);
    }
    buf_free(&errors);
    return s->index == NULL ? -1 : 0;
}

static int open_files(struct store *s)
{
    if (!role_enter_data_dir(s->role)) {
        s->role->exit_code = exit_code_of(errno);
        log_error("cannot enter %s: %s", s->role->data_dir, strerror(errno));
        return -1;
    }
    if (!role_become_user(s->role)) {
        log_error("the store cannot take its user id: %s", strerror(errno));
        return -1;
    }
    if (!lock_index(s->role)) {
        return -1;
    }
    if (reindex_is_needed()) {
        log_error(
            "there is a log, and no index to it: run `veredus reindex` before the server is started again");
        s->role->exit_code = EX_DATAERR;
        return -1;
    }
    if (open_index(s) != 0) {
        return -1;
    }
    if (segments_init(&s->segments, &io_system, true) != 0) {
        s->role->exit_code = exit_code_of(errno);
        log_error("the folder of the log, %s/segments, cannot be used: %s", s->role->data_dir,
                  strerror(errno));
        return -1;
    }
    if (!is_whole(s)) {
        return -1;
    }
    return role_become_starter(s->role) ? 0 : -1;
}

static int prepare(struct role *role)
{
    struct store *s = state_of(role);
    if (s == NULL || s->events == NULL || !s->has_grant_key) {
        log_error("the store did not get its key from the supervisor, or there is no memory");
        return -1;
    }
    s->config = config_ref(role->config);
    s->own_batch = batch_new();
    if (s->own_batch == NULL || open_files(s) != 0) {
        return -1;
    }
    s->applier = applier_new(s->index, &s->segments, s->grant_key);
    s->accounts = store_accounts_new(s);
    s->queue = store_queue_new(s);
    s->watches = store_watches_new();
    s->compact = store_compact_new(s);
    s->fulltext = store_fulltext_new(s);
    if (s->applier == NULL || s->accounts == NULL || s->queue == NULL || s->watches == NULL ||
        s->compact == NULL || s->fulltext == NULL) {
        log_error("the store has no memory");
        return -1;
    }
    applier_set_config(s->applier, s->config);
    return 0;
}

static int start(struct role *role)
{
    struct store *s = role->data;
    store_queue_await_relays(s);
    if (store_segments_load(s) != 0) {
        return -1;
    }
    while (store_segments_pending(s)) {
        if (!store_tick(s)) {
            log_error("the log cannot be applied to the index; `veredus verify` says more");
            role->exit_code = exit_code_of_work(sqlite3_errcode(s->index->db));
            return -1;
        }
    }
    check_space(s);
    loop_timer_start(role->loop, &s->space_timer, SPACE_INTERVAL_MS, true, check_space, s);
    loop_timer_start(role->loop, &s->checkpoint_timer, CHECKPOINT_INTERVAL_MS, true, checkpoint, s);
    if (s->admin_fd >= 0) {
        s->admin = store_admin_open(s, s->admin_fd);
    }
    for (struct role_peer *p = role->peers; p != NULL; p = p->next) {
        store_segments_supply(s, p);
    }
    store_queue_run(s);
    store_compact_due(s);
    store_fulltext_start(s);
    return 0;
}

static void peer_up(struct role *role, struct role_peer *peer)
{
    struct store *s = state_of(role);
    if (s != NULL && s->index != NULL && role->begun) {
        tell_space(s, peer);
        store_segments_supply(s, peer);
    }
}

static void peer_down(struct role *role, struct role_peer *peer)
{
    struct store *s = role->data;
    if (s == NULL || s->index == NULL) {
        return;
    }
    if (peer->kind == ROLE_SMTPD_MX || peer->kind == ROLE_SMTPD_MSA) {
        store_segments_writer_gone(s, peer->kind, peer->instance);
        plan_tick(s);
    } else if (peer->kind == ROLE_IMAPD) {
        store_mailbox_peer_down(s, peer->instance);
        store_change_peer_down(s, peer->instance);
        store_watch_peer_down(s, peer->instance);
        store_segments_writer_gone(s, peer->kind, peer->instance);
        plan_tick(s);
    } else if (peer->kind == ROLE_INDEXER) {
        store_fulltext_peer_down(s);
    } else if (peer->kind == ROLE_RELAY) {
        /* What it has told counts, before the rest of its leases is taken back: a result forgotten is a second copy sent. */
        if (s->requests != NULL) {
            store_tick(s);
        }
        store_queue_peer_down(s, peer->instance);
    }
}

static void peer_message(struct role *role, struct role_peer *peer, const struct ipc_type *type,
                         const void *message, int fd)
{
    (void)fd;
    struct store *s = role->data;
    if (s == NULL || s->index == NULL) {
        return;
    }
    switch (peer->kind) {
    case ROLE_SMTPD_MX:
    case ROLE_SMTPD_MSA:
        if (type == &log_event_type) {
            take_event(s, message);
        } else {
            store_segments_message(s, peer, type, message);
            plan_tick(s);
        }
        break;
    case ROLE_IMAPD:
        if (type == &log_flushed_type || type == &log_sealed_type) {
            store_segments_message(s, peer, type, message);
        } else if (type == &mailbox_change_type) {
            store_change_message(s, peer, message);
        } else if (type == &mailbox_watch_type) {
            store_watch_message(s, peer, message);
        } else if (type == &account_watch_type) {
            store_watch_account(s, peer, message);
        } else {
            store_mailbox_message(s, peer, type, message);
        }
        break;
    case ROLE_KEYS: store_accounts_message(s, peer, type, message); break;
    case ROLE_RELAY: store_queue_message(s, peer, type, message); break;
    case ROLE_INDEXER: store_fulltext_message(s, message); break;
    default: break;
    }
}

static void configured(struct role *role)
{
    struct store *s = role->data;
    config_unref(s->config);
    s->config = config_ref(role->config);
    applier_set_config(s->applier, s->config);
    store_directory_changed(s);
    tell_space(s, NULL);
    store_queue_changed(s);
}

static void control(struct role *role, const struct ipc_type *type, const void *message, int fd)
{
    struct store *s = state_of(role);
    if (s == NULL) {
        if (fd >= 0) {
            close(fd);
        }
    } else if (type == &control_admin_type) {
        s->admin_fd = fd;
    } else if (type == &control_segment_marked_type) {
        store_segments_marked(s, message);
    } else if (type == &control_dev_user_type) {
        store_accounts_dev_user(s, message);
    } else if (s->admin != NULL) {
        store_admin_control(s->admin, type, message);
    }
}

static void drain(struct role *role)
{
    struct store *s = role->data;
    for (int tries = 0; tries < 100 && has_work(s); tries++) {
        if (!store_tick(s)) {
            break; /* what is not applied now is applied at the next start */
        }
    }
    role_drained(role, 0);
}

/* Not in drain: ticks and messages that are on their way may still need the index. */
static void ended(struct role *role)
{
    struct store *s = role->data;
    if (s != NULL && s->index != NULL) {
        store_compact_end(s);
        store_fulltext_end(s);
        index_rollback(s->index);
        index_checkpoint(s->index);
        index_close(s->index);
        s->index = NULL;
    }
}

static const struct role_protocol protocols[] = {
    {ROLE_SMTPD_MX, &log_to_store},    {ROLE_SMTPD_MSA, &log_to_store}, {ROLE_IMAPD, &change_to_store},
    {ROLE_KEYS, &credential_to_store}, {ROLE_RELAY, &queue_to_store},   {ROLE_INDEXER, &fulltext_to_store}};

const struct role_module role_store = {.kind = ROLE_STORE,
                                       .protocols = protocols,
                                       .protocol_count = sizeof(protocols) / sizeof(protocols[0]),
                                       .prepare = prepare,
                                       .start = start,
                                       .peer_up = peer_up,
                                       .peer_message = peer_message,
                                       .peer_down = peer_down,
                                       .secret = secret,
                                       .configured = configured,
                                       .control = control,
                                       .drain = drain,
                                       .ended = ended};
