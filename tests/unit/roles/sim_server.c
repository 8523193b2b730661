/* The server of the story: smtpd and reader as actors, roles that are killed and started, faults and commands; see sim_story.h. */
#include "sim_story.h"

#include "base/buf.h"
#include "ipc/proto_log.h"
#include "roles/store_admin_private.h"
#include "store/batch.h"
#include "store/entry.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEGMENTS_HELD = 16 };

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
    grant_make(&grant, story.key, grant_area);
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
void sim_accept_letter(void *context)
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
    sim_tell("letter %u from <%s> is %s", letter->number, letter->sender,
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
    if (body_grant_check(ask->body_grant, story.key, &grant) &&
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
    if (sim_of(ROLE_STORE) == NULL &&
        sim_start(&role_store, story.config, story.dir, story.key, actors, 3) == NULL) {
        sim_tell("the store does not start");
        sim_disturb();
        sim_at(sim_now() + 5 * SIM_SECOND, NULL, start_store, NULL);
    }
    sim_tell("store up");
}

static void start_relay(void *context)
{
    (void)context;
    if (sim_of(ROLE_RELAY) == NULL) {
        sim_start(&role_relay, story.config, story.dir, story.key, actors, 3);
    }
    sim_tell("relay up");
}

/* Never so short that the end of the old one is not seen before the new one comes: role.c sees to that order. */
static uint64_t down_time(void)
{
    return 5000 + (sim_chance(700) ? sim_below(2000000) : sim_below(40) * SIM_SECOND);
}

void sim_kill_store(void *context)
{
    (void)context;
    sim_disturb();
    story.totals.restarts++;
    bool drain = sim_chance(300);
    sim_tell("store is %s", drain ? "stopped" : "killed");
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

void sim_kill_relay(void *context)
{
    sim_disturb();
    story.totals.restarts++;
    bool drain = sim_chance(300);
    sim_tell("relay is %s", drain ? "stopped" : "killed");
    if (drain) {
        sim_drain(sim_of(ROLE_RELAY));
        sim_at(sim_now() + sim_below(30) * SIM_SECOND, NULL, finish_relay, NULL);
        return;
    }
    finish_relay(context);
}

void sim_kill_both(void *context)
{
    sim_kill_relay(context);
    sim_kill_store(context);
}

static void disk_has_room(void *context)
{
    (void)context;
    sim_disturb();
    sim_disk_full = false;
    sim_tell("there is room on the disk");
    sim_wake(sim_of(ROLE_STORE));
}

void sim_fill_disk(void *context)
{
    (void)context;
    sim_disturb();
    story.totals.full++;
    sim_disk_full = true;
    sim_disk_honest = sim_chance(300);
    sim_tell("the disk is full");
    sim_wake(sim_of(ROLE_STORE));
    sim_at(sim_now() + sim_below(sim_chance(850) ? 120 : 1500) * SIM_SECOND, NULL, disk_has_room, NULL);
}

void sim_fail_write(void *context)
{
    (void)context;
    sim_disturb();
    sim_write_fault = 1 + sim_below(30);
    sim_tell("write %u from now fails", sim_write_fault);
}

void sim_step_clock(void *context)
{
    (void)context;
    int64_t ms = (int64_t)sim_below(7200000) - 3600000;
    sim_disturb();
    story.clock_stepped = true;
    sim_step_wall(ms);
    sim_tell("the clock steps by %.0f s", (double)ms / 1000);
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
        sim_wrong("the command %s has no answer", name);
    }
    json_decref(arguments);
    buf_free(&c.out);
    buf_free(&c.job.match);
}

void sim_give_command(void *context)
{
    static const char *const names[] = {"queue list", "queue show",    "queue retry", "queue hold",
                                        "queue hold", "queue release", "queue drop"};
    (void)context;
    struct sim_process *store = sim_of(ROLE_STORE);
    const char *name = names[sim_below(sim_chance(300) ? 7 : 6)];
    const struct letter *letter = &story.letters[sim_below((uint32_t)story.letter_count)];
    char id[IDENT_TEXT + 1] = "";
    if (store == NULL || !letter->accepted || !sim_faults) {
        return;
    }
    ident_format(&letter->id, id);
    story.totals.commands++;
    sim_tell("%s %s (letter %u)", name, id, letter->number);
    note_command(name, letter);
    sim_enter(store);
    run_queue_command(sim_role(store)->data, name, id);
    sim_leave();
    if (strcmp(name, "queue hold") == 0) { /* soon released again, perhaps while a relay still has it */
        sim_at(sim_now() + sim_below(sim_chance(500) ? 3 : 3000) * SIM_SECOND, NULL, sim_give_command, NULL);
    }
}

void sim_release_all(void)
{
    struct sim_process *store = sim_of(ROLE_STORE);
    if (store != NULL) {
        sim_enter(store);
        run_queue_command(sim_role(store)->data, "queue release", NULL);
        sim_leave();
    }
}

void sim_server_begin(void)
{
    held_count = 0;
    accepting = true;
    smtpd.store = NULL;
}

bool sim_server_start(void)
{
    start_store(NULL);
    if (sim_of(ROLE_STORE) == NULL || segments_init(&reading, &reading_io, false) != 0) {
        fprintf(stderr, "simulation: the store does not start\n");
        return false;
    }
    sim_own_fd(reading.dir);
    start_relay(NULL);
    return true;
}
