/*
 * The story of one seed: letters, faults and commands of a day, then quiet until the queue is empty; and what must hold.
 * Whatever happens, a recipient gets the message or its sender one bounce, and every copy beyond the first is explained by a
 * connection that was lost behind the final dot, or by a relay that was killed before it could tell. See sim.h.
 */
#include "sim.h"

#include "base/buf.h"
#include "base/ident.h"
#include "base/mem.h"
#include "config/config.h"
#include "ipc/proto_log.h"
#include "message/dsn.h"
#include "roles/store_admin_private.h"
#include "store/account.h"
#include "store/batch.h"
#include "store/entry.h"
#include "store/mailbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LETTERS_MAX = 24,
    RCPTS_MAX = 6,
    NOTICES_MAX = 400,
    SEGMENTS_HELD = 16,
    JOBS_SEEN = 4096,
    JOB_RCPTS = 100
};

struct letter;

struct rcpt {
    struct letter *letter;
    struct sim_domain *domain;
    char address[80];
    uint8_t notify;
    unsigned copies;
    unsigned uncertain; /* reasons for a copy more */
    unsigned failed;    /* notices */
    unsigned delayed;
    unsigned relayed;
    uint64_t copied_us; /* when these first came about */
    uint64_t failed_us;
    uint64_t delayed_us;
    bool refused_for_good; /* a 5xx that concerns it was told */
    bool dropped;          /* by command */
    bool may_be_held;
    uint64_t first_ms; /* as the store has it */
    uint64_t live_job; /* a relay has it */
    uint32_t live_relay;
    enum { IDLE, TAKEN, TOLD } holder; /* a server has taken it; the store has heard */
    uint32_t told_by;
    bool passed;  /* the last server that took it does DSN */
    bool late;    /* an attempt failed after four hours */
    bool unclear; /* so near to four hours that either will do */
    unsigned attempts;
    unsigned deferred;
    unsigned unacknowledged; /* of them, told to the store that lives */
    unsigned unknown;        /* of them, told to stores that died: committed or not */
    uint64_t deferred_us;    /* the last time; 0: never, or it is not known when it may be tried again */
    uint64_t deferred_wall_ms;
    bool hurried; /* a command has changed when it is tried */
};

struct letter {
    unsigned number;
    char sender[64];
    bool local; /* the sender has a mailbox here */
    struct ident id;
    bool accepted;
    void (*trouble)(void *context); /* soon after it was accepted */
    struct rcpt rcpts[RCPTS_MAX];
    size_t rcpt_count;
};

static struct letter letters[LETTERS_MAX];
static size_t letter_count;
static struct config *config;
static struct sim_totals totals;
static char failure[400];
static uint64_t lifetime_ms;
static uint64_t delay_ms;
static uint64_t disturbed_us; /* when anything last kept the server from its work */
static bool clock_stepped;
static char dir[80];
static unsigned char key[GRANT_KEY_SIZE];

static void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void wrong(const char *format, ...)
{
    if (failure[0] == '\0') {
        va_list args;
        va_start(args, format);
        int n = snprintf(failure, sizeof(failure), "at %.3f s: ", (double)sim_now() / 1e6);
        vsnprintf(failure + n, sizeof(failure) - (size_t)n, format, args);
        va_end(args);
    }
}

static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void tell(const char *format, ...)
{
    if (sim_verbose) {
        va_list args;
        va_start(args, format);
        fprintf(stderr, "%10.3f * ", (double)sim_now() / 1e6);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
    }
}

static void disturb(void)
{
    disturbed_us = sim_now();
}

/* Finding. */

static struct rcpt *rcpt_of(struct letter *letter, struct str address)
{
    for (size_t i = 0; letter != NULL && i < letter->rcpt_count; i++) {
        if (str_equal(address, str_of(letter->rcpts[i].address))) {
            return &letter->rcpts[i];
        }
    }
    return NULL;
}

static struct letter *letter_with(const struct ident *id)
{
    for (size_t i = 0; i < letter_count; i++) {
        if (letters[i].accepted && memcmp(letters[i].id.bytes, id->bytes, IDENT_SIZE) == 0) {
            return &letters[i];
        }
    }
    return NULL;
}

static struct letter *letter_of(struct str message)
{
    static const char field[] = "X-Sim: ";
    const char *at = memmem(message.data, message.len, field, sizeof(field) - 1);
    unsigned long number = at == NULL ? 0 : strtoul(at + sizeof(field) - 1, NULL, 10);
    return number >= 1 && number <= letter_count ? &letters[number - 1] : NULL;
}

/* Every recipient: `step` is called with each. */
#define FOR_EACH_RCPT(r)                                                                                     \
    for (size_t l_ = 0; l_ < letter_count; l_++)                                                             \
        for (struct rcpt *r = letters[l_].rcpts; r < letters[l_].rcpts + letters[l_].rcpt_count; r++)

/* Notices. */

static char last_notice[16384];
static char seen[NOTICES_MAX][120];
static size_t seen_count;

static bool seen_before(struct str message)
{
    char id[120] = "";
    const char *at = memmem(message.data, message.len, "Message-ID: ", 12);
    if (at == NULL) {
        wrong("a notice has no Message-ID");
        return true;
    }
    size_t len = strcspn(at + 12, "\r\n");
    memcpy(id, at + 12, len < sizeof(id) - 1 ? len : sizeof(id) - 1);
    for (size_t i = 0; i < seen_count; i++) {
        if (strcmp(seen[i], id) == 0) {
            return true;
        }
    }
    if (seen_count < NOTICES_MAX) {
        memcpy(seen[seen_count++], id, sizeof(id));
    }
    return false;
}

static void count_notice(struct letter *letter, struct str address, struct str action)
{
    struct rcpt *r = rcpt_of(letter, address);
    if (r == NULL) {
        wrong("a notice names <%.*s>, which was no recipient", STR_ARGS(address));
        return;
    }
    if (letter->sender[0] == '\0') {
        wrong("a notice was made for the null reverse-path");
    }
    if (str_equal(action, STR("failed"))) {
        r->failed++;
        r->failed_us = sim_now();
        totals.bounces++;
    } else if (str_equal(action, STR("delayed"))) {
        r->delayed++;
        r->delayed_us = sim_now();
        totals.delays++;
    } else if (str_equal(action, STR("relayed"))) {
        r->relayed++;
        totals.successes++;
    } else {
        wrong("a notice has the action \"%.*s\"", STR_ARGS(action));
    }
}

static struct str field_value(const char *text, const char *end, const char *name)
{
    const char *at = memmem(text, (size_t)(end - text), name, strlen(name));
    if (at == NULL) {
        return STR_EMPTY;
    }
    at += strlen(name);
    return str_make(at, strcspn(at, "\r\n"));
}

/* `message` must be followed by a NUL. */
static void take_notice(struct str sender, struct str recipient, struct str message)
{
    struct letter *letter = letter_of(message);
    const char *end = message.data + message.len;
    if (sender.len > 0 || letter == NULL || !str_equal(recipient, str_of(letter->sender))) {
        wrong("a notice to <%.*s> is of no letter of that sender", STR_ARGS(recipient));
        return;
    }
    if (seen_before(message)) {
        return;
    }
    snprintf(last_notice, sizeof(last_notice), "%.*s", STR_ARGS(message));
    const char *at = memmem(message.data, message.len, "Final-Recipient: ", 17);
    if (at == NULL) {
        wrong("a notice names no recipient");
    }
    while (at != NULL) {
        struct str address = field_value(at, end, "Final-Recipient: rfc822;");
        address = address.len > 0 && address.data[0] == ' ' ? str_from(address, 1) : address;
        count_notice(letter, address, field_value(at, end, "Action: "));
        at = memmem(at + 1, (size_t)(end - at - 1), "Final-Recipient: ", 17);
    }
}

/* What servers tell. */

static bool is_notice(struct str message)
{
    return memmem(message.data, message.len, "multipart/report", 16) != NULL;
}

void sim_world_taken(struct str sender, struct str recipient, struct str message, uint64_t transaction)
{
    (void)transaction;
    if (is_notice(message)) {
        take_notice(sender, recipient, message);
        return;
    }
    struct rcpt *r = rcpt_of(letter_of(message), recipient);
    if (r == NULL || !str_equal(sender, str_of(r->letter->sender))) {
        wrong("a server got a message from <%.*s> for <%.*s> that was never sent", STR_ARGS(sender),
              STR_ARGS(recipient));
        return;
    }
    r->copied_us = r->copies++ == 0 ? sim_now() : r->copied_us;
    totals.copies++;
    r->holder = TAKEN;
    tell("letter %u is at <%s>, copy %u", r->letter->number, r->address, r->copies);
}

void sim_world_uncertain(struct str recipient, struct str message)
{
    struct rcpt *r = is_notice(message) ? NULL : rcpt_of(letter_of(message), recipient);
    if (r != NULL) {
        r->uncertain++;
        r->holder = IDLE;
        totals.uncertain++;
    }
}

/* What passes between store and relay. */

struct seen_job {
    uint64_t id;
    struct letter *letter;
    struct rcpt *rcpts[JOB_RCPTS];
    size_t count;
    uint32_t attempt;
};

static struct seen_job jobs[JOBS_SEEN];
static size_t job_count;

static struct seen_job *job_with(uint64_t id)
{
    for (size_t i = job_count; i > 0; i--) {
        if (jobs[i - 1].id == id) {
            return &jobs[i - 1];
        }
    }
    return NULL;
}

static void see_job(const struct queue_job *message)
{
    struct ident id;
    if (job_count == JOBS_SEEN || !ident_parse(message->message_id, &id)) {
        return;
    }
    jobs[job_count++] =
        (struct seen_job){.id = message->job, .letter = letter_with(&id), .attempt = message->attempt};
}

static uint64_t pause_us(unsigned deferred)
{
    size_t count = config->relay.schedule_count;
    size_t at = deferred == 0 ? 0 : deferred - 1;
    return config->relay.schedule_s[at < count ? at : count - 1] * SIM_SECOND;
}

/* Not before its pause is over, and not much later, unless something explains it. */
static void check_pause(const struct rcpt *r)
{
    uint64_t notice = r->first_ms + delay_ms;
    uint64_t now = sim_wall_ms();
    /* An attempt is due when the notice is, and may have had to wait for room on the disk. */
    bool clamped =
        (now + 70000 >= notice && r->deferred_wall_ms < notice) || now + 70000 >= r->first_ms + lifetime_ms;
    if (r->deferred_us == 0 || r->hurried || clock_stepped) {
        return;
    }
    uint64_t waited = sim_now() - r->deferred_us;
    uint64_t least = pause_us(r->deferred - r->unknown);
    uint64_t pause = pause_us(r->deferred);
    if (waited + SIM_SECOND < least && !clamped) {
        wrong("letter %u for <%s> is tried after %.0f s instead of %.0f s (attempt %u)", r->letter->number,
              r->address, (double)waited / 1e6, (double)least / 1e6, r->attempts);
    }
    if (waited > pause + pause / 10 + 70 * SIM_SECOND && disturbed_us + 2 * SIM_MINUTE < r->deferred_us) {
        wrong("letter %u for <%s> is tried after %.0f s instead of at most %.0f s", r->letter->number,
              r->address, (double)waited / 1e6, (double)(pause + pause / 10) / 1e6);
    }
}

static void see_recipient(const struct queue_recipient *message)
{
    struct seen_job *job = job_with(message->job);
    struct rcpt *r = job == NULL ? NULL : rcpt_of(job->letter, message->address);
    struct sim_process *store = sim_of(ROLE_STORE);
    struct sim_process *relay = sim_of(ROLE_RELAY);
    struct entry entry;
    if (job == NULL || job->count == JOB_RCPTS) {
        return;
    }
    job->rcpts[job->count++] = r;
    totals.attempts += r != NULL;
    if (r == NULL || store == NULL || relay == NULL) {
        return;
    }
    if (r->live_job != 0) {
        wrong("letter %u for <%s> is given to a relay that has it already", r->letter->number, r->address);
    }
    struct store *s = sim_role(store)->data;
    sim_enter(store);
    if (entry_find(s->index, &r->letter->id, message->address, &entry) == 1) {
        r->first_ms = entry.first_ms;
    }
    sim_leave();
    r->attempts++;
    check_pause(r);
    r->live_job = message->job;
    r->live_relay = sim_role(relay)->instance;
}

static void see_deferred(struct rcpt *r)
{
    uint64_t now = sim_wall_ms();
    uint64_t notice = r->first_ms + delay_ms;
    r->deferred++;
    r->unacknowledged++;
    r->deferred_us = sim_now();
    r->deferred_wall_ms = now;
    r->hurried = r->may_be_held;
    if (sim_disk_full || (now + 3000 >= notice && now < notice)) {
        r->unclear = true;
    } else if (now >= notice && now < r->first_ms + lifetime_ms) {
        r->late = true;
    }
}

static void see_result(const struct queue_result *message)
{
    struct seen_job *job = job_with(message->job);
    struct rcpt *r = job != NULL && message->recipient < job->count ? job->rcpts[message->recipient] : NULL;
    if (r == NULL) {
        return;
    }
    r->live_job = 0;
    r->told_by = r->live_relay;
    if (message->outcome == OUTCOME_DELIVERED) {
        if (r->copies == 0) {
            wrong("letter %u for <%s> is told as delivered, and no server took it", r->letter->number,
                  r->address);
        }
        r->holder = TOLD;
        r->passed = message->dsn_passed != 0;
    } else if (message->outcome == OUTCOME_DEFERRED || message->outcome == OUTCOME_UNCERTAIN) {
        r->holder = IDLE;
        see_deferred(r);
    } else if (message->outcome == OUTCOME_FAILED) {
        r->holder = IDLE;
        r->refused_for_good = true;
    }
}

static void see_acknowledged(uint64_t id)
{
    const struct seen_job *job = job_with(id);
    for (size_t i = 0; job != NULL && i < job->count; i++) {
        if (job->rcpts[i] != NULL) {
            job->rcpts[i]->holder = IDLE;
            job->rcpts[i]->unacknowledged = 0;
        }
    }
}

static void see_message(enum role_kind from, enum role_kind to, const struct ipc_type *type,
                        const void *message)
{
    if (from == ROLE_STORE && to == ROLE_RELAY) {
        if (type == &queue_job_type) {
            see_job(message);
        } else if (type == &queue_recipient_type) {
            see_recipient(message);
        } else {
            see_acknowledged(((const struct queue_acknowledged *)message)->job);
        }
    } else if (from == ROLE_RELAY && to == ROLE_STORE && type == &queue_result_type) {
        see_result(message);
    }
}

static void see_end(struct sim_process *process, enum role_kind kind, uint32_t instance)
{
    struct sim_process *relay = sim_of(ROLE_RELAY);
    (void)process;
    FOR_EACH_RCPT(r)
    {
        bool told_by_the_living = relay != NULL && sim_role(relay)->instance == r->told_by;
        if (kind == ROLE_STORE) {
            r->live_job = 0;
            r->deferred_us = 0;
            r->unknown += r->unacknowledged;
            r->unacknowledged = 0;
            r->unclear = true;
            if (r->holder == TOLD && !told_by_the_living) {
                r->uncertain++;
                r->holder = IDLE;
            } else if (r->holder == TOLD) {
                r->holder = TAKEN;
            }
        } else if (kind == ROLE_RELAY && r->live_relay == instance) {
            r->live_job = 0;
            if (r->holder == TAKEN) {
                r->uncertain++;
                r->holder = IDLE;
            }
        }
    }
}

/* smtpd: accepts letters. */

struct held_segment {
    int64_t id;
    int fd;
    uint64_t end;
    bool sealed;
};

static struct held_segment held[SEGMENTS_HELD];
static size_t held_count;
static bool accepting;
static struct sim_actor smtpd;

static void drop_held(size_t at)
{
    close(held[at].fd);
    held[at] = held[--held_count];
}

static void smtpd_takes(struct sim_actor *actor, struct channel *from, const struct ipc_type *type,
                        const void *message, int fd)
{
    (void)from;
    (void)actor;
    if (type == &log_segment_type && held_count < SEGMENTS_HELD) {
        held[held_count++] =
            (struct held_segment){.id = (int64_t)((const struct log_segment *)message)->segment, .fd = fd};
    } else if (type == &log_space_type) {
        accepting = ((const struct log_space *)message)->accepting != 0;
    } else if (type == &log_applied_type) {
        const struct log_applied *applied = message;
        for (size_t i = 0; i < held_count; i++) {
            if (held[i].id == (int64_t)applied->segment && held[i].sealed && applied->offset >= held[i].end) {
                drop_held(i);
                break;
            }
        }
    }
}

static void say_where(const struct held_segment *h)
{
    if (h->sealed) {
        struct log_sealed sealed = {.segment = (uint64_t)h->id, .offset = h->end, .failed = 1};
        channel_send(smtpd.store, &log_sealed_type, &sealed);
    } else if (h->end > 0) {
        struct log_flushed flushed = {.segment = (uint64_t)h->id, .offset = h->end, .records = 1};
        channel_send(smtpd.store, &log_flushed_type, &flushed);
    }
}

static void smtpd_up(struct sim_actor *actor, struct channel *to)
{
    actor->store = to;
    for (size_t i = 0; i < held_count; i++) {
        say_where(&held[i]);
    }
}

static void smtpd_down(struct sim_actor *actor, struct channel *to)
{
    if (actor->store == to) {
        actor->store = NULL;
    }
}

static struct sim_actor smtpd = {
    .kind = ROLE_SMTPD_MSA, .instance = 2, .take = smtpd_takes, .up = smtpd_up, .down = smtpd_down};

static void write_envelope(const struct letter *letter, struct buf *out)
{
    unsigned char grant_area[GRANT_SIZE];
    struct grant grant = {.account = 1, .instance = smtpd.instance, .kind = ROLE_SMTPD_MSA};
    memcpy(&grant.boot, "simulationsimulationsimulation00", sizeof(grant.boot));
    grant_make(&grant, key, grant_area);
    struct record_envelope envelope = {.sender = str_of(letter->sender),
                                       .envelope_id = STR_EMPTY,
                                       .grant = str_make(grant_area, sizeof(grant_area)),
                                       .login = STR_EMPTY,
                                       .client = STR("192.0.2.1"),
                                       .helo = STR("client.example"),
                                       .tls = STR_EMPTY,
                                       .retires = STR_EMPTY,
                                       .recipient_count = (uint32_t)letter->rcpt_count};
    record_encode_envelope(&envelope, out);
    for (size_t i = 0; i < letter->rcpt_count; i++) {
        struct record_recipient recipient = {.address = str_of(letter->rcpts[i].address),
                                             .original = STR_EMPTY,
                                             .notify = letter->rcpts[i].notify};
        record_encode_recipient(&recipient, out);
    }
}

/* As smtpd at the end of the data: the letter is accepted if its record is written. */
static void accept_letter(void *context)
{
    struct letter *letter = context;
    struct batch *batch = batch_new();
    struct buf envelope = buf_make(1 << 16);
    struct buf body = buf_make(1 << 20);
    struct record_header header = {.kind = RECORD_MESSAGE, .flags = RECORD_ESMTP, .wall_ms = sim_wall_ms()};
    size_t at = 0;
    while (at < held_count && held[at].sealed) {
        at++;
    }
    header.id = ident_make(header.wall_ms, sim_random());
    write_envelope(letter, &envelope);
    buf_printf(&body, "From: <%s>\r\nX-Sim: %u\r\nSubject: simulated\r\n\r\nHello\r\n", letter->sender,
               letter->number);
    for (uint32_t lines = sim_chance(50) ? sim_below(4000) : 0; lines > 0; lines--) {
        buf_append_lit(&body, "A line of a longer letter, to fill more than one chunk.\r\n");
    }
    if (accepting && at < held_count &&
        batch_add(batch, &header, STR_EMPTY, buf_str(&envelope), STR("Received: from simulation\r\n"),
                  buf_str(&body), NULL)) {
        batch_write(batch, &io_system, held[at].fd);
        letter->accepted = batch->result == BATCH_STORED;
        held[at].sealed = !letter->accepted;
        held[at].end += letter->accepted ? batch->octets : 0;
        letter->id = header.id;
        say_where(&held[at]);
    }
    if (letter->trouble != NULL) {
        sim_at(sim_now() + (uint64_t)sim_below(3000) * SIM_MS, NULL, letter->trouble, NULL);
    }
    tell("letter %u from <%s> is %s", letter->number, letter->sender,
         letter->accepted ? "accepted" : "refused");
    batch_free(batch);
    buf_free(&envelope);
    buf_free(&body);
}

/* The reader: bytes of messages. */

static struct segments reading;

static int raw_openat(int at, const char *name, int flags, mode_t mode)
{
    return openat(at, name, flags, mode);
}

static const struct io reading_io = {.openat = raw_openat, .pread = pread, .close = close};

static void reader_takes(struct sim_actor *actor, struct channel *from, const struct ipc_type *type,
                         const void *message, int fd)
{
    (void)actor;
    (void)type;
    (void)fd;
    static char area[IPC_CHUNK_MAX];
    const struct body_read *ask = message;
    struct body_bytes answer = {.ticket = ask->ticket, .bytes = STR_EMPTY};
    unsigned char bytes[RECORD_HEADER];
    struct record_header header;
    struct body_grant grant;
    if (sim_faults && sim_chance(2)) {
        return; /* never answered */
    }
    if (body_grant_check(ask->body_grant, key, &grant) &&
        segment_read_at(&reading, (int64_t)grant.segment, (int64_t)grant.offset, bytes, RECORD_HEADER) &&
        record_decode_header(bytes, &header) == RECORD_GOOD) {
        uint64_t size = (uint64_t)header.trace_len + header.body_len;
        size_t len = ask->offset >= size                ? 0
                     : ask->offset + ask->length > size ? (size_t)(size - ask->offset)
                                                        : ask->length;
        answer.found = segment_read_at(&reading, (int64_t)grant.segment,
                                       (int64_t)(grant.offset + header.envelope_len + ask->offset) +
                                           record_payload_at(&header),
                                       area, len);
        answer.bytes = str_make(area, len);
    }
    for (size_t i = 0; i < SEGMENT_OPEN_MAX; i++) {
        sim_own_fd(reading.open[i].fd);
    }
    channel_send(from, &body_bytes_type, &answer);
}

static struct sim_actor reader = {.kind = ROLE_READER, .instance = 4, .take = reader_takes};

/* Roles: started, killed, started again, as the supervisor does. */

static struct sim_actor *const actors[] = {&smtpd, &reader, &sim_resolver};
static void start_store(void *context)
{
    (void)context;
    if (sim_of(ROLE_STORE) == NULL && sim_start(&role_store, config, dir, key, actors, 3) == NULL) {
        tell("the store does not start");
        disturb();
        sim_at(sim_now() + 5 * SIM_SECOND, NULL, start_store, NULL);
    }
    tell("store up");
}

static void start_relay(void *context)
{
    (void)context;
    if (sim_of(ROLE_RELAY) == NULL) {
        sim_start(&role_relay, config, dir, key, actors, 3);
    }
    tell("relay up");
}

/* Never so short that the end of the old one is not seen before the new one comes: role.c sees to that order. */
static uint64_t down_time(void)
{
    return 5000 + (sim_chance(700) ? sim_below(2000000) : sim_below(40) * SIM_SECOND);
}

static void kill_store(void *context)
{
    (void)context;
    disturb();
    totals.restarts++;
    bool drain = sim_chance(300);
    tell("store is %s", drain ? "stopped" : "killed");
    if (drain) {
        sim_drain(sim_of(ROLE_STORE));
    }
    sim_kill(sim_of(ROLE_STORE));
    sim_at(sim_now() + down_time(), NULL, start_store, NULL);
}

static void finish_relay(void *context)
{
    (void)context;
    sim_kill(sim_of(ROLE_RELAY));
    sim_at(sim_now() + down_time(), NULL, start_relay, NULL);
}

static void kill_relay(void *context)
{
    disturb();
    totals.restarts++;
    bool drain = sim_chance(300);
    tell("relay is %s", drain ? "stopped" : "killed");
    if (drain) {
        sim_drain(sim_of(ROLE_RELAY));
        sim_at(sim_now() + sim_below(30) * SIM_SECOND, NULL, finish_relay, NULL);
        return;
    }
    finish_relay(context);
}

static void kill_both(void *context)
{
    kill_relay(context);
    kill_store(context);
}

static void disk_has_room(void *context)
{
    (void)context;
    disturb();
    sim_disk_full = false;
    tell("there is room on the disk");
    sim_wake(sim_of(ROLE_STORE));
}

static void disk_is_full(void *context)
{
    (void)context;
    disturb();
    totals.full++;
    sim_disk_full = true;
    sim_disk_honest = sim_chance(300);
    tell("the disk is full");
    sim_wake(sim_of(ROLE_STORE));
    sim_at(sim_now() + sim_below(sim_chance(850) ? 120 : 1500) * SIM_SECOND, NULL, disk_has_room, NULL);
}

static void write_fails_once(void *context)
{
    (void)context;
    disturb();
    sim_write_fault = 1 + sim_below(30);
    tell("write %u from now fails", sim_write_fault);
}

static void clock_steps(void *context)
{
    (void)context;
    int64_t ms = (int64_t)sim_below(7200000) - 3600000;
    disturb();
    clock_stepped = true;
    sim_step_wall(ms);
    tell("the clock steps by %.0f s", (double)ms / 1000);
}

/* Commands. */

static void note_command(const char *command, const struct letter *letter)
{
    for (size_t i = 0; i < letter->rcpt_count; i++) {
        struct rcpt *r = (struct rcpt *)(uintptr_t)&letter->rcpts[i];
        r->hurried = true;
        if (strcmp(command, "queue hold") == 0) {
            r->may_be_held = true;
            r->unclear = true;
        }
        if (strcmp(command, "queue drop") == 0) {
            r->dropped = true;
        }
    }
}

static void run_queue_command(struct store *s, const char *name, const char *what)
{
    struct store_admin admin = {.store = s};
    struct admin_connection c = {.admin = &admin, .fd = -1};
    json_t *arguments = what == NULL ? json_pack("{s:b}", "all", 1) : json_pack("{s:s}", "what", what);
    c.out = buf_make(ADMIN_ANSWER_MAX);
    c.job.match = buf_make(1024);
    void (*run)(struct admin_connection * connection, const json_t *arguments) =
        strcmp(name, "queue hold") == 0      ? admin_queue_hold
        : strcmp(name, "queue release") == 0 ? admin_queue_release
        : strcmp(name, "queue retry") == 0   ? admin_queue_retry
        : strcmp(name, "queue drop") == 0    ? admin_queue_drop
        : strcmp(name, "queue show") == 0    ? admin_queue_show
                                             : admin_queue_list;
    run(&c, arguments);
    while (c.step != NULL && c.step(&c)) {
    }
    if (c.out.len == 0) {
        wrong("the command %s has no answer", name);
    }
    json_decref(arguments);
    buf_free(&c.out);
    buf_free(&c.job.match);
}

static void give_command(void *context)
{
    static const char *const names[] = {"queue list", "queue show",    "queue retry", "queue hold",
                                        "queue hold", "queue release", "queue drop"};
    (void)context;
    struct sim_process *store = sim_of(ROLE_STORE);
    const char *name = names[sim_below(sim_chance(300) ? 7 : 6)];
    const struct letter *letter = &letters[sim_below((uint32_t)letter_count)];
    char id[IDENT_TEXT + 1] = "";
    if (store == NULL || !letter->accepted || !sim_faults) {
        return;
    }
    ident_format(&letter->id, id);
    totals.commands++;
    tell("%s %s (letter %u)", name, id, letter->number);
    note_command(name, letter);
    sim_enter(store);
    run_queue_command(sim_role(store)->data, name, id);
    sim_leave();
    if (strcmp(name, "queue hold") == 0) { /* soon released again, perhaps while a relay still has it */
        sim_at(sim_now() + sim_below(sim_chance(500) ? 3 : 3000) * SIM_SECOND, NULL, give_command, NULL);
    }
}

static void release_all(void)
{
    struct sim_process *store = sim_of(ROLE_STORE);
    if (store != NULL) {
        sim_enter(store);
        run_queue_command(sim_role(store)->data, "queue release", NULL);
        sim_leave();
    }
}

/* Setting up. */

static void make_domains(uint64_t seed)
{
    struct sim_domain *home = sim_domain_add("home.example");
    struct sim_host *host = sim_host_add(home);
    host->fault = sim_below(100);
    host->permanent = 0;
    for (unsigned i = 0; i < 5; i++) {
        char name[40];
        snprintf(name, sizeof(name), "d%u.example", i);
        struct sim_domain *domain = sim_domain_add(name);
        uint32_t kind = sim_below(20);
        domain->dns = kind == 0   ? DNS_NONE
                      : kind == 1 ? DNS_NULL_MX
                      : kind == 2 ? DNS_ADDRESS_ONLY
                      : kind <= 5 ? DNS_FAILS_AT_TIMES
                                  : DNS_MX;
        for (uint32_t k = domain->dns == DNS_ADDRESS_ONLY ? 1 : 1 + sim_below(3); k > 0; k--) {
            host = sim_host_add(domain);
            host->fault = sim_chance(300) ? 0 : sim_below(sim_chance(300) ? 900 : 200);
            host->permanent = sim_chance(500) ? 0 : sim_below(400);
            host->late_drop = sim_chance(300) ? sim_below(500) : 0;
            host->greylists = sim_chance(200);
            host->esmtp = !sim_chance(100);
            host->pipelining = sim_chance(700);
            host->dsn = sim_chance(400);
            host->chunking = sim_chance(400);
            host->rcpt_limit = sim_chance(200) ? 1 : 0;
            if (sim_chance(250)) {
                host->down_from = sim_below(12) * SIM_HOUR;
                host->down_until = host->down_from + sim_below(10) * SIM_HOUR;
            }
            if (seed % 10 == 5 && i == 0) {
                host->down_from = SIM_MINUTE;
                host->down_until = 3 * SIM_DAY;
            }
            host->dead = seed % 5 == 0 && i == 1;
        }
    }
}

static void make_letters(void)
{
    static const uint8_t notify[] = {0,
                                     0,
                                     0,
                                     DSN_NOTIFY_NEVER,
                                     DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE,
                                     DSN_NOTIFY_FAILURE,
                                     DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE | DSN_NOTIFY_DELAY,
                                     DSN_NOTIFY_DELAY};
    letter_count = 4 + sim_below(6);
    for (size_t i = 0; i < letter_count; i++) {
        struct letter *letter = &letters[i];
        *letter = (struct letter){.number = (unsigned)i + 1,
                                  .rcpt_count = 1 + sim_below(sim_chance(300) ? RCPTS_MAX : 2)};
        letter->local = sim_chance(250);
        if (!sim_chance(120)) {
            snprintf(letter->sender, sizeof(letter->sender), "%s",
                     letter->local ? "carl@local.example" : "ann@home.example");
        } else {
            letter->local = false;
        }
        for (size_t k = 0; k < letter->rcpt_count; k++) {
            struct rcpt *r = &letter->rcpts[k];
            r->letter = letter;
            r->domain = &sim_domains[1 + sim_below((uint32_t)sim_domain_count - 1)];
            r->notify = notify[sim_below(sizeof(notify))];
            snprintf(r->address, sizeof(r->address), "%s%zu@%s", sim_chance(80) ? "nobody" : "user", k,
                     r->domain->name);
        }
        sim_at(SIM_SECOND + sim_below(12 * 3600) * SIM_SECOND, NULL, accept_letter, letter);
        totals.messages++;
        totals.recipients += (unsigned)letter->rcpt_count;
    }
}

static void plan_faults(void)
{
    static void (*const kinds[])(void *context) = {kill_store,   kill_store,   kill_relay,       kill_relay,
                                                   kill_both,    disk_is_full, write_fails_once, clock_steps,
                                                   give_command, give_command};
    uint32_t count = sim_chance(150) ? 0 : sim_below(14);
    bool steps = sim_chance(200);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t kind = sim_below(sizeof(kinds) / sizeof(kinds[0]));
        uint64_t at = SIM_MINUTE + sim_below(20 * 3600) * SIM_SECOND;
        if (kinds[kind] == clock_steps && !steps) {
            kind = 8;
        }
        sim_at(at + sim_below(1000000), NULL, kinds[kind], NULL);
    }
    /* Close behind a letter's arrival, when the first attempt is under way. */
    for (size_t i = 0; i < letter_count; i++) {
        if (sim_chance(250)) {
            static const unsigned near[] = {0, 2, 4, 5, 6, 8, 9};
            letters[i].trouble = kinds[near[sim_below(7)]];
        }
    }
}

static bool load_config(void)
{
    char area[1000];
    struct buf errors = buf_make(4096);
    snprintf(area, sizeof(area),
             "hostname = \"mail.local.example\"\n"
             "domain local.example { }\n"
             "relay { tls = none lifetime = %llus bounce_lifetime = 5d port = 25 ipv6 = false }\n",
             (unsigned long long)(lifetime_ms / 1000));
    bool fine = config_parse(str_of(area), "simulation", &config, &errors);
    if (!fine) {
        fprintf(stderr, "%.*s\n", STR_ARGS(buf_str(&errors)));
    }
    buf_free(&errors);
    return fine;
}

static char template_dir[64];

/* Making the tables takes longer than a seed: it is done once. */
static bool make_template(void)
{
    struct account account;
    struct buf errors = buf_make(4096);
    snprintf(template_dir, sizeof(template_dir), "%s/veredus-sim-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(template_dir) == NULL || chdir(template_dir) != 0) {
        return false;
    }
    struct index *index = index_open("index.db", true, &errors);
    bool fine = index != NULL && index_begin(index) == 0 &&
                account_add(index, STR("carl@local.example"), STR("x"), -1, 1, &account) == 0 &&
                index_commit(index) == 0;
    if (!fine) {
        fprintf(stderr, "simulation: %.*s\n", STR_ARGS(buf_str(&errors)));
    }
    index_close(index);
    buf_free(&errors);
    return fine;
}

static void copy_file(const char *from, const char *to)
{
    char area[65536];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n;
    while (in >= 0 && out >= 0 && (n = read(in, area, sizeof(area))) > 0) {
        if (write(out, area, (size_t)n) != n) {
            break;
        }
    }
    close(in);
    close(out);
}

static void remove_files(const char *name)
{
    DIR *list = opendir(name);
    for (struct dirent *entry = list == NULL ? NULL : readdir(list); entry != NULL; entry = readdir(list)) {
        char path[400];
        snprintf(path, sizeof(path), "%s/%s", name, entry->d_name);
        if (entry->d_type != DT_DIR) {
            unlink(path);
        } else if (entry->d_name[0] != '.') {
            remove_files(path);
        }
    }
    if (list != NULL) {
        closedir(list);
    }
    rmdir(name);
}

static void remove_template(void)
{
    if (chdir("/") == 0) {
        remove_files(template_dir);
    }
}

static bool make_directory(void)
{
    char path[120];
    if (template_dir[0] == '\0') {
        if (!make_template()) {
            return false;
        }
        atexit(remove_template);
    }
    snprintf(dir, sizeof(dir), "%s/run", template_dir);
    if (mkdir(dir, 0700) != 0 || chdir(dir) != 0) {
        return false;
    }
    snprintf(path, sizeof(path), "%s/index.db", template_dir);
    copy_file(path, "index.db");
    return true;
}

/* What must hold at the end. */

static bool expired(const struct rcpt *r)
{
    return clock_stepped || (r->deferred > 0 && r->deferred_wall_ms + 2000 >= r->first_ms + lifetime_ms);
}

static void check_copies(const struct rcpt *r)
{
    unsigned number = r->letter->number;
    if (r->copies > 1 + r->uncertain) {
        wrong("letter %u for <%s> was delivered %u times, and only %u are explained", number, r->address,
              r->copies, 1 + r->uncertain);
    }
    totals.doubles += r->copies > 1;
    if (r->failed > 1) {
        wrong("letter %u for <%s> was bounced %u times", number, r->address, r->failed);
    }
    if (r->failed > 0 && r->copies > 0 && r->uncertain == 0) {
        wrong("letter %u for <%s> was delivered and bounced", number, r->address);
    }
    if (r->failed > 0 && !r->refused_for_good && !expired(r)) {
        wrong("letter %u for <%s> was bounced before its time was over", number, r->address);
    }
    if (r->failed > 0 && !dsn_wanted(DSN_FAILED, r->notify, str_of(r->letter->sender))) {
        wrong("letter %u for <%s> was bounced, and nobody wanted to know", number, r->address);
    }
}

static void check_fate(const struct rcpt *r)
{
    unsigned number = r->letter->number;
    bool wanted = dsn_wanted(DSN_FAILED, r->notify, str_of(r->letter->sender));
    if (r->live_job != 0) {
        wrong("letter %u for <%s> is still with a relay", number, r->address);
    }
    if (r->copies == 0 && r->failed == 0 && !r->dropped &&
        (wanted || (!r->refused_for_good && !expired(r)))) {
        wrong("letter %u for <%s> was neither delivered nor bounced", number, r->address);
    }
}

static void check_other_notices(const struct rcpt *r)
{
    unsigned number = r->letter->number;
    struct str sender = str_of(r->letter->sender);
    bool delay = dsn_wanted(DSN_DELAYED, r->notify, sender);
    bool success = dsn_wanted(DSN_RELAYED, r->notify, sender);
    bool sure = !r->unclear && !clock_stepped && !r->dropped;
    if (r->delayed > (delay ? 1U : 0U)) {
        wrong("letter %u for <%s> has %u delay notices", number, r->address, r->delayed);
    }
    if (sure && delay && r->delayed != (r->late ? 1U : 0U)) {
        wrong("letter %u for <%s> has %u delay notices, and it was %slate", number, r->address, r->delayed,
              r->late ? "" : "not ");
    }
    if (r->relayed > (success ? r->copies : 0U)) {
        wrong("letter %u for <%s> has %u success notices", number, r->address, r->relayed);
    }
    if (success && r->copies == 1 && r->uncertain == 0 && !r->dropped &&
        r->relayed != (r->passed ? 0U : 1U)) {
        wrong("letter %u for <%s> was delivered with %s DSN, and has %u success notices", number, r->address,
              r->passed ? "" : "no", r->relayed);
    }
}

static int64_t number_of(struct index *index, const char *sql)
{
    sqlite3_stmt *q = NULL;
    int64_t value = -1;
    if (sqlite3_prepare_v2(index->db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW) {
        value = sqlite3_column_int64(q, 0);
    }
    sqlite3_finalize(q);
    return value;
}

/* Notices to a sender of ours are in a mailbox. */
static void read_mailbox(struct store *s)
{
    struct mailbox mailbox;
    int64_t count = number_of(s->index, "SELECT COUNT(*) FROM message");
    if (mailbox_find(s->index, 1, MAILBOX_INBOX, &mailbox) != 1 || (int64_t)mailbox.uid_next != count + 1) {
        wrong("the mailbox has %lld messages and counts %lld", (long long)count,
              (long long)mailbox.uid_next - 1);
        return;
    }
    for (uint32_t uid = 1; uid <= (uint32_t)count; uid++) {
        struct message_place place;
        struct buf message = buf_make(8 << 20);
        if (message_find(s->index, &mailbox, uid, &place) != 1 ||
            !message_read(&s->segments, &place, 0, (size_t)place.size + 100, &message) ||
            !buf_append_char(&message, '\0')) {
            wrong("message %u of the mailbox cannot be read", uid);
        } else {
            take_notice(STR_EMPTY, STR("carl@local.example"), str_make(message.data, message.len - 1));
        }
        buf_free(&message);
    }
}

static void check_store(void)
{
    struct sim_process *store = sim_of(ROLE_STORE);
    if (store == NULL) {
        wrong("there is no store at the end");
        return;
    }
    struct store *s = sim_role(store)->data;
    sim_enter(store);
    int64_t queued = number_of(s->index, "SELECT COUNT(*) FROM queue");
    int64_t records = number_of(s->index, "SELECT COUNT(*) FROM record");
    int64_t used = number_of(s->index, "SELECT COUNT(DISTINCT record) FROM message");
    if (queued != 0) {
        wrong("%lld recipients are still queued", (long long)queued);
    } else if (records != used) {
        wrong("%lld records are kept, and %lld are needed", (long long)records, (long long)used);
    }
    read_mailbox(s);
    sim_leave();
}

static int64_t queued_now(void)
{
    struct sim_process *store = sim_of(ROLE_STORE);
    if (store == NULL) {
        return -1;
    }
    sim_enter(store);
    int64_t count = entry_count(((struct store *)sim_role(store)->data)->index);
    sim_leave();
    return count;
}

static void run_until(uint64_t until)
{
    while (failure[0] == '\0' && sim_step(until)) {
    }
}

/* The day with its faults, then quiet until nothing is queued. */
static void live(void)
{
    run_until(SIM_DAY);
    sim_faults = false;
    sim_write_fault = 0;
    disturb();
    run_until(SIM_DAY + SIM_MINUTE);
    release_all();
    uint64_t end = sim_now() + (lifetime_ms * SIM_MS) + 6 * SIM_DAY;
    while (failure[0] == '\0' && sim_now() < end && queued_now() != 0) {
        run_until(sim_now() + 30 * SIM_MINUTE);
    }
    run_until(sim_now() + SIM_MINUTE);
}

static void begin_seed(uint64_t seed)
{
    sim_reset(seed);
    sim_net_reset();
    totals = (struct sim_totals){0};
    failure[0] = '\0';
    last_notice[0] = '\0';
    letter_count = 0;
    seen_count = 0;
    job_count = 0;
    held_count = 0;
    clock_stepped = false;
    accepting = true;
    disturbed_us = 0;
    smtpd.store = NULL;
    delay_ms = 4 * 3600 * 1000ULL;
    json_set_alloc_funcs(mem_alloc, mem_free); /* as store_admin_open does */
    json_object_seed(1);
    lifetime_ms = (seed % 10 == 0 || seed % 10 == 5 ? 120ULL : 20ULL) * 3600 * 1000;
    memset(key, 7, sizeof(key));
    sim_watch_message = see_message;
    sim_watch_end = see_end;
}

static void add_totals(struct sim_totals *all)
{
    const unsigned *from = (const unsigned *)&totals;
    unsigned *to = (unsigned *)all;
    for (size_t i = 0; i < sizeof(totals) / sizeof(unsigned); i++) {
        to[i] += from[i];
    }
}

/* False: it cannot begin. */
static bool begin_roles(void)
{
    if (!make_directory() || !load_config()) {
        fprintf(stderr, "simulation: the directory or the configuration cannot be made\n");
        return false;
    }
    start_store(NULL);
    if (sim_of(ROLE_STORE) == NULL || segments_init(&reading, &reading_io, false) != 0) {
        fprintf(stderr, "simulation: the store does not start\n");
        return false;
    }
    sim_own_fd(reading.dir);
    start_relay(NULL);
    return true;
}

static void check_all(void)
{
    check_store();
    FOR_EACH_RCPT(r)
    {
        if (r->letter->accepted) {
            check_copies(r);
            check_fate(r);
            check_other_notices(r);
        } else if (r->copies > 0) {
            wrong("letter %u was refused and delivered", r->letter->number);
        }
    }
}

static void end_seed(void)
{
    sim_end();
    sim_net_end();
    remove_files(dir);
}

bool sim_play(const struct sim_scenario *scenario, struct sim_outcome *outcome)
{
    begin_seed(5);
    sim_faults = scenario->host.greylists;
    if (!begin_roles()) {
        return false;
    }
    sim_host_add(sim_domain_add("home.example"));
    struct sim_domain *domain = sim_domain_add("far.example");
    struct sim_host *host = sim_host_add(domain);
    struct sim_host shape = scenario->host;
    memcpy(shape.name, host->name, sizeof(shape.name));
    memcpy(shape.address, host->address, sizeof(shape.address));
    shape.esmtp = true;
    shape.pipelining = true;
    *host = shape;
    letter_count = 1;
    letters[0] = (struct letter){.number = 1, .rcpt_count = scenario->recipients};
    snprintf(letters[0].sender, sizeof(letters[0].sender), "%s",
             scenario->sender == NULL ? "ann@home.example" : scenario->sender);
    for (unsigned i = 0; i < scenario->recipients; i++) {
        struct rcpt *r = &letters[0].rcpts[i];
        *r = (struct rcpt){.letter = &letters[0], .domain = domain, .notify = scenario->notify};
        snprintf(r->address, sizeof(r->address), "user%u@far.example", i);
    }
    sim_at(SIM_SECOND, NULL, accept_letter, &letters[0]);
    while (failure[0] == '\0' && sim_now() < 12 * SIM_DAY && (sim_now() < SIM_MINUTE || queued_now() != 0)) {
        run_until(sim_now() + SIM_MINUTE);
    }
    check_all();
    const struct rcpt *r = &letters[0].rcpts[0];
    *outcome = (struct sim_outcome){.copies = r->copies,
                                    .failed = r->failed,
                                    .delayed = r->delayed,
                                    .relayed = r->relayed,
                                    .uncertain = r->uncertain,
                                    .copied_us = r->copied_us,
                                    .failed_us = r->failed_us,
                                    .delayed_us = r->delayed_us,
                                    .attempts = r->attempts};
    memcpy(outcome->notice, last_notice, sizeof(last_notice));
    end_seed();
    if (failure[0] != '\0') {
        fprintf(stderr, "simulation: scenario: %s\n", failure);
    }
    return failure[0] == '\0';
}

bool sim_run(uint64_t seed, struct sim_totals *all)
{
    begin_seed(seed);
    make_domains(seed);
    if (!begin_roles()) {
        return false;
    }
    make_letters();
    plan_faults();
    live();
    check_all();
    add_totals(all);
    end_seed();
    if (failure[0] != '\0') {
        fprintf(stderr, "simulation: seed %llu: %s\n", (unsigned long long)seed, failure);
    }
    return failure[0] == '\0';
}
