/* The simulation's processes, the channels between them, and what a role finds in role.c; see sim.h. */
#include "sim_private.h"

#include "base/mem.h"
#include "config/config.h"
#include "ipc/channel.h"
#include "roles/store_private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LATENCY_US = 200 };

void (*sim_watch_message)(enum role_kind from, enum role_kind to, const struct ipc_type *type,
                          const void *message);
void (*sim_watch_end)(struct sim_process *process, enum role_kind kind, uint32_t instance);

static uint32_t next_instance;
static struct sim_process *current;
static struct sim_process *processes;

struct sim_process *sim_current(void)
{
    return current;
}

void sim_enter(struct sim_process *process)
{
    current = process;
}
static void end_process(struct sim_process *process);

void sim_leave(void)
{
    struct sim_process *process = current;
    sim_run_tasks(&process->loop);
    current = NULL;
    if (process->loop.stopped && process->alive) {
        end_process(process);
    }
}
/* Channels. */

struct channel {
    struct channel *next; /* of all */
    struct channel *other;
    struct sim_process *process; /* or */
    struct sim_actor *actor;
    struct role_peer *peer; /* NULL: the supervisor's side or its role's control channel */
    enum role_kind kind;    /* whose end this is */
    uint64_t last_us;       /* when the last message from here arrives */
    bool closed;
};

static struct channel *channels;

struct packet {
    struct channel *to;
    const struct ipc_type *type;
    struct buf octets;
    int fd;
};

static struct sim_process *process_of(const struct channel *c)
{
    return c->process != NULL && c->process->alive ? c->process : NULL;
}

static void deliver_packet(struct packet *p)
{
    unsigned char area[4096] __attribute__((aligned(16)));
    struct channel *to = p->to;
    if (!ipc_decode(p->type, (struct str){p->octets.data, p->octets.len}, area)) {
        fprintf(stderr, "simulation: a message of the type %s cannot be read\n", p->type->name);
        abort();
    }
    if (sim_watch_message != NULL) {
        sim_watch_message(to->other->kind, to->kind, p->type, area);
    }
    if (to->actor != NULL) {
        to->actor->take(to->actor, to, p->type, area, p->fd);
        return;
    }
    struct sim_process *process = to->process;
    const struct role_module *module = process->role.module;
    sim_give_fd(p->fd, false);
    sim_wake(process);
    sim_enter(process);
    if (to->peer == NULL) {
        module->control(&process->role, p->type, area, p->fd);
    } else {
        module->peer_message(&process->role, to->peer, p->type, area, p->fd);
    }
    sim_leave();
}

static void packet_arrives(void *context)
{
    struct packet *p = context;
    bool there = !p->to->closed && (p->to->actor != NULL || process_of(p->to) != NULL);
    if (there) {
        deliver_packet(p);
    } else if (p->fd >= 0) {
        sim_give_fd(p->fd, false);
        close(p->fd);
    }
    free(p->octets.data);
    free(p);
}

bool channel_send_fd(struct channel *c, const struct ipc_type *type, const void *message, int fd)
{
    if (c == NULL || c->closed) {
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    struct sim_process *was = current;
    current = NULL;
    struct buf packet = buf_make(IPC_PACKET_MAX);
    bool fine = ipc_encode(type, message, &packet);
    struct packet *p = fine ? calloc(1, sizeof(*p)) : NULL;
    if (p != NULL) {
        *p = (struct packet){.to = c->other, .type = type, .fd = fd};
        p->octets.len = packet.len;
        p->octets.data = malloc(packet.len + 1);
        if (p->octets.data == NULL) {
            abort();
        }
        memcpy(p->octets.data, packet.data, packet.len);
        sim_give_fd(fd, true);
        uint64_t at = sim_now() + LATENCY_US + sim_below(LATENCY_US * 5);
        c->last_us = at > c->last_us ? at : c->last_us;
        sim_at(c->last_us, NULL, packet_arrives, p);
    } else if (fd >= 0) {
        close(fd);
    }
    buf_free(&packet);
    current = was;
    return fine;
}

bool channel_send(struct channel *c, const struct ipc_type *type, const void *message)
{
    return channel_send_fd(c, type, message, -1);
}

void channel_flush(struct channel *c)
{
    (void)c;
}

static struct channel *half(struct sim_process *process, struct sim_actor *actor)
{
    struct channel *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        abort();
    }
    c->process = process;
    c->actor = actor;
    c->kind = process != NULL ? process->role.kind : actor->kind;
    c->next = channels;
    channels = c;
    return c;
}

/* The role's side of a new channel. */
static void add_peer(struct channel *mine, enum role_kind kind, uint32_t instance)
{
    struct sim_process *process = mine->process;
    struct role *role = &process->role;
    sim_enter(process);
    struct role_peer *peer = mem_new(struct role_peer);
    *peer = (struct role_peer){.role = role, .kind = kind, .instance = instance, .channel = mine};
    mine->peer = peer;
    struct role_peer **link = &role->peers;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = peer;
    if (role->module->peer_up != NULL) {
        role->module->peer_up(role, peer);
    }
    sim_leave();
}

static bool speaks(const struct role_module *module, enum role_kind kind)
{
    for (size_t i = 0; i < module->protocol_count; i++) {
        if (module->protocols[i].peer == kind) {
            return true;
        }
    }
    return false;
}

static void connect_processes(struct sim_process *a, struct sim_process *b)
{
    struct channel *x = half(a, NULL);
    struct channel *y = half(b, NULL);
    x->other = y;
    y->other = x;
    add_peer(y, a->role.kind, a->role.instance);
    if (process_of(x) != NULL) {
        add_peer(x, b->role.kind, b->role.instance);
    }
}

static void connect_actor(struct sim_process *a, struct sim_actor *actor)
{
    struct channel *x = half(a, NULL);
    struct channel *y = half(NULL, actor);
    x->other = y;
    y->other = x;
    add_peer(x, actor->kind, actor->instance);
    if (actor->up != NULL) {
        actor->up(actor, y);
    }
}

static void peer_is_gone(void *context)
{
    struct channel *c = context;
    struct sim_process *process = process_of(c);
    if (c->closed) {
        return;
    }
    c->closed = true;
    if (c->actor != NULL) {
        if (c->actor->down != NULL) {
            c->actor->down(c->actor, c);
        }
        return;
    }
    if (process == NULL || c->peer == NULL) {
        return;
    }
    sim_wake(process);
    sim_enter(process);
    struct role_peer *peer = c->peer;
    struct role_peer **link = &process->role.peers;
    while (*link != peer) {
        link = &(*link)->next;
    }
    *link = peer->next;
    if (process->role.module->peer_down != NULL) {
        process->role.module->peer_down(&process->role, peer);
    }
    mem_free(peer);
    sim_leave();
}

static void close_channels(struct sim_process *process)
{
    for (struct channel *c = channels; c != NULL; c = c->next) {
        if (c->process == process && !c->closed) {
            c->closed = true;
            if (!c->other->closed) {
                uint64_t at = sim_now() + LATENCY_US;
                sim_at(at > c->last_us ? at : c->last_us, NULL, peer_is_gone, c->other);
            }
        }
    }
}

/* Roles. */

struct role_peer *role_peer_of(struct role *role, enum role_kind kind)
{
    struct role_peer *peer = role->peers;
    while (peer != NULL && peer->kind != kind) {
        peer = peer->next;
    }
    return peer;
}

struct role_peer *role_peer_find(struct role *role, enum role_kind kind, uint32_t instance)
{
    struct role_peer *peer = role->peers;
    while (peer != NULL && !(peer->kind == kind && peer->instance == instance)) {
        peer = peer->next;
    }
    return peer;
}

bool role_send(struct role_peer *peer, const struct ipc_type *type, const void *message)
{
    return peer != NULL && channel_send(peer->channel, type, message);
}

bool role_read_fd(int fd, size_t limit, struct buf *out)
{
    char area[4096];
    ssize_t n = pread(fd, area, sizeof(area), 0);
    close(fd);
    return n >= 0 && (size_t)n <= limit && buf_append(out, area, (size_t)n);
}

uint64_t role_boot(const struct role *role)
{
    uint64_t boot = 0;
    memcpy(&boot, role->boot_id, sizeof(boot));
    return boot;
}

bool role_enter_data_dir(const struct role *role)
{
    return chdir(role->data_dir) == 0;
}

bool role_become_user(const struct role *role)
{
    (void)role;
    return true;
}

bool role_become_starter(const struct role *role)
{
    (void)role;
    return true;
}

void role_drained(struct role *role, uint32_t cut)
{
    (void)cut;
    loop_stop(role->loop);
}

bool sim_alive(const struct sim_process *process)
{
    return process != NULL && process->alive;
}

struct sim_process *sim_of(enum role_kind kind)
{
    struct sim_process *process = processes;
    while (process != NULL && !(process->alive && process->role.kind == kind)) {
        process = process->next;
    }
    return process;
}

struct role *sim_role(struct sim_process *process)
{
    return &process->role;
}

/* What the kernel does for a process that has ended. */
static void end_process(struct sim_process *process)
{
    if (sim_watch_end != NULL) {
        sim_watch_end(process, process->role.kind, process->role.instance);
    }
    if (process->role.draining && process->role.module->ended != NULL) {
        current = process;
        process->role.module->ended(&process->role);
        current = NULL;
    }
    if (process->role.kind == ROLE_STORE) {
        struct store *s = process->role.data;
        if (s != NULL && s->index != NULL && s->index->db != NULL && !process->role.draining) {
            sqlite3_db_config(s->index->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
            current = process;
            index_close(s->index);
            current = NULL;
        }
        sim_close_left_over();
    }
    process->alive = false;
    sim_net_process_gone(process);
    sim_forget_events(process);
    close_channels(process);
    sim_free_memory(&process->memory);
}

void sim_kill(struct sim_process *process)
{
    if (sim_alive(process)) {
        end_process(process);
    }
}

void sim_drain(struct sim_process *process)
{
    if (sim_alive(process) && !process->role.draining) {
        process->role.draining = true;
        sim_enter(process);
        process->role.module->drain(&process->role);
        sim_leave();
    }
}

static void supervisor_takes(struct sim_actor *actor, struct channel *from, const struct ipc_type *type,
                             const void *message, int fd)
{
    (void)actor;
    if (fd >= 0) {
        sim_give_fd(fd, false);
        close(fd);
    }
    if (type == &control_mark_segment_type) {
        const struct control_mark_segment *ask = message;
        struct control_segment_marked done = {.segment = ask->segment, .append_only = ask->append_only};
        channel_send(from, &control_segment_marked_type, &done);
    }
}

static struct sim_actor supervisor = {.kind = ROLE_SUPERVISOR, .take = supervisor_takes};

static void give_key(struct sim_process *process, const unsigned char key[32])
{
    int fd = memfd_create("key", MFD_CLOEXEC);
    if (process->role.module->secret != NULL && fd >= 0 && write(fd, key, 32) == 32) {
        enum secret_kind kind = process->role.kind == ROLE_STORE ? SECRET_GRANT_KEY : SECRET_TICKET_KEY;
        process->role.module->secret(&process->role, kind, STR_EMPTY, fd);
    }
}

static bool bring_up(struct sim_process *process, const unsigned char key[32])
{
    struct role *role = &process->role;
    sim_enter(process);
    give_key(process, key);
    if (role->module->prepare(role) != 0) {
        process->loop.stopped = true;
    }
    sim_leave();
    return process->alive;
}

struct sim_process *sim_start(const struct role_module *module, struct config *config, const char *dir,
                              const unsigned char key[32], struct sim_actor *const *actors,
                              size_t actor_count)
{
    struct sim_process *process = calloc(1, sizeof(*process));
    if (process == NULL) {
        abort();
    }
    process->next = processes;
    processes = process;
    process->memory = (struct piece){&process->memory, &process->memory, &process->memory, 0};
    process->loop.process = process;
    process->loop.last = &process->loop.first;
    process->alive = true;
    process->role = (struct role){.module = module,
                                  .loop = &process->loop,
                                  .kind = module->kind,
                                  .instance = ++next_instance,
                                  .config = config,
                                  .generation = 1,
                                  .boot_id = "simulationsimulationsimulation00"};
    process->role.data_dir = (char *)(uintptr_t)dir;
    struct channel *control = half(process, NULL);
    control->other = half(NULL, &supervisor);
    control->other->other = control;
    process->role.control = control;
    if (!bring_up(process, key)) {
        return NULL;
    }
    for (size_t i = 0; i < actor_count && process->alive; i++) {
        if (speaks(module, actors[i]->kind)) {
            connect_actor(process, actors[i]);
        }
    }
    for (struct sim_process *other = processes; other != NULL && process->alive; other = other->next) {
        if (other != process && other->alive && speaks(module, other->role.kind)) {
            connect_processes(process, other);
        }
    }
    if (!process->alive) {
        return NULL;
    }
    sim_enter(process);
    if (module->start(&process->role) != 0) {
        process->loop.stopped = true;
    }
    process->role.begun = true;
    sim_leave();
    return process->alive ? process : NULL;
}

void sim_reset(uint64_t seed)
{
    next_instance = 100;
    current = NULL;
    sim_loop_reset();
    sim_runtime_reset(seed);
}

void sim_end(void)
{
    sim_watch_end = NULL;
    while (processes != NULL) {
        struct sim_process *process = processes;
        sim_kill(process);
        processes = process->next;
        free(process);
    }
    for (struct sim_event *event = sim_take_event(); event != NULL; event = sim_take_event()) {
        if (!event->cancelled && event->run == packet_arrives) {
            struct packet *p = event->context;
            free(p->octets.data);
            free(p);
        }
        free(event);
    }
    while (channels != NULL) {
        struct channel *c = channels;
        channels = c->next;
        free(c);
    }
    sim_loop_reset();
    sim_runtime_end();
}
