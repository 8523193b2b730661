/* Time, processes, memory, disk and channels of the simulation; see sim.h. */
#include "sim.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "config/config.h"
#include "ipc/channel.h"
#include "roles/store_private.h"
#include "store/index_file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IDLE_REPEATS = 2, LATENCY_US = 200, FIRST_FD_MAX = 300 };

static const uint64_t wall_base_ms = 1800000000000ULL;

bool sim_verbose;
bool sim_disk_full;
bool sim_disk_honest;
uint32_t sim_write_fault;
void (*sim_watch_message)(enum role_kind from, enum role_kind to, const struct ipc_type *type,
                          const void *message);
void (*sim_watch_end)(struct sim_process *process, enum role_kind kind, uint32_t instance);

static uint64_t now_us;
static int64_t wall_offset_ms;
static uint64_t state;
static uint64_t next_serial;
static uint32_t next_instance;
static struct sim_process *current;

/* Randomness: splitmix64. */

uint64_t sim_random(void)
{
    state += 0x9e3779b97f4a7c15U;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

uint32_t sim_below(uint32_t n)
{
    return n == 0 ? 0 : (uint32_t)(sim_random() % n);
}

bool sim_chance(uint32_t n)
{
    return sim_below(1000) < n;
}

uint64_t random_u64(void)
{
    return sim_random();
}

void random_bytes(void *out, size_t len)
{
    unsigned char *octets = out;
    for (size_t i = 0; i < len; i++) {
        octets[i] = (unsigned char)sim_random();
    }
}

/* Clocks. */

uint64_t sim_now(void)
{
    return now_us;
}

uint64_t sim_wall_ms(void)
{
    return wall_base_ms + now_us / SIM_MS + (uint64_t)wall_offset_ms;
}

void sim_step_wall(int64_t ms)
{
    wall_offset_ms += ms;
}

uint64_t clock_monotonic_us(void)
{
    return now_us + SIM_SECOND;
}

uint64_t clock_monotonic_ms(void)
{
    return clock_monotonic_us() / 1000;
}

uint64_t clock_wall_ms(void)
{
    return sim_wall_ms();
}

/* Log lines are shown when asked for. */

void log_setup(const char *name, uint32_t instance, enum log_level level, bool json)
{
    (void)name;
    (void)instance;
    (void)level;
    (void)json;
}

bool log_wants(enum log_level level)
{
    (void)level;
    return sim_verbose;
}

void log_write(enum log_level level, const char *format, ...)
{
    if (sim_verbose) {
        va_list args;
        va_start(args, format);
        fprintf(stderr, "%10.3f %d ", (double)now_us / 1e6, (int)level);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
    }
}

void log_flush(void)
{
}

/* Memory: each piece knows whose it is, so that what a killed process had goes with it. */

struct piece {
    struct piece *next;
    struct piece *before;
    struct piece *list; /* head of its owner's ring */
    size_t size;
} __attribute__((aligned(16)));

static struct piece world_memory = {&world_memory, &world_memory, &world_memory, 0};

static void link_piece(struct piece *piece, struct piece *list)
{
    piece->list = list;
    piece->next = list->next;
    piece->before = list;
    list->next->before = piece;
    list->next = piece;
}

static void unlink_piece(struct piece *piece)
{
    piece->next->before = piece->before;
    piece->before->next = piece->next;
}

static void free_pieces(struct piece *list)
{
    while (list->next != list) {
        struct piece *piece = list->next;
        unlink_piece(piece);
        free(piece);
    }
}

/* Processes. */

struct loop {
    struct sim_process *process;
    struct loop_task *first;
    struct loop_task **last;
    bool stopped;
};

struct sim_process {
    struct sim_process *next;
    struct role role;
    struct loop loop;
    struct piece memory;
    unsigned idle; /* repeats since something else happened */
    bool alive;
};

static struct sim_process *processes;

static struct piece *memory_now(void)
{
    return current == NULL ? &world_memory : &current->memory;
}

void *mem_zalloc(size_t count, size_t size)
{
    size_t octets = count * size;
    struct piece *piece = calloc(1, sizeof(*piece) + octets);
    if (piece == NULL) {
        abort();
    }
    piece->size = octets;
    link_piece(piece, memory_now());
    return piece + 1;
}

void *mem_alloc(size_t size)
{
    struct piece *piece = malloc(sizeof(*piece) + size);
    if (piece == NULL) {
        abort();
    }
    piece->size = size;
    link_piece(piece, memory_now());
    return piece + 1;
}

void *mem_realloc(void *old, size_t size)
{
    void *fresh = mem_alloc(size);
    if (old != NULL) {
        const struct piece *piece = (struct piece *)old - 1;
        memcpy(fresh, old, piece->size < size ? piece->size : size);
        mem_free(old);
    }
    return fresh;
}

void mem_free(void *memory)
{
    if (memory != NULL) {
        struct piece *piece = (struct piece *)memory - 1;
        unlink_piece(piece);
        free(piece);
    }
}

void mem_keep_freed(size_t octets, size_t largest)
{
    (void)octets;
    (void)largest;
}

void mem_fail_at(uint64_t k, int once)
{
    (void)k;
    (void)once;
}

uint64_t mem_count(void)
{
    return 0;
}

int64_t mem_live(void)
{
    return 0;
}

struct sim_process *sim_current(void)
{
    return current;
}

void sim_enter(struct sim_process *process)
{
    current = process;
}

static void run_tasks(struct loop *loop)
{
    while (loop->first != NULL) {
        struct loop_task *task = loop->first;
        loop->first = task->next;
        if (loop->first == NULL) {
            loop->last = &loop->first;
        }
        task->queued = false;
        task->run(task->context);
    }
}

static void end_process(struct sim_process *process);

void sim_leave(void)
{
    struct sim_process *process = current;
    run_tasks(&process->loop);
    current = NULL;
    if (process->loop.stopped && process->alive) {
        end_process(process);
    }
}

/* Events: a heap by time. */

struct sim_event {
    uint64_t at;
    uint64_t serial;
    struct sim_process *owner;
    void (*run)(void *context);
    void *context;
    uint64_t repeat_us;
    bool cancelled;
    bool sleeping; /* a repeating timer with nothing to look at */
    bool once;     /* started again each time by whoever it calls: it may sleep all the same */
};

static struct sim_event **heap;
static size_t heap_len;
static size_t heap_cap;

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at < b->at || (a->at == b->at && a->serial < b->serial);
}

static void heap_add(struct sim_event *event)
{
    if (heap_len == heap_cap) {
        heap_cap = heap_cap == 0 ? 256 : heap_cap * 2;
        heap = realloc(heap, heap_cap * sizeof(struct sim_event *));
        if (heap == NULL) {
            abort();
        }
    }
    size_t at = heap_len++;
    while (at > 0 && before(event, heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = event;
}

static struct sim_event *heap_take(void)
{
    struct sim_event *first = heap[0];
    struct sim_event *last = heap[--heap_len];
    size_t at = 0;
    while (at * 2 + 1 < heap_len) {
        size_t child = at * 2 + 1;
        if (child + 1 < heap_len && before(heap[child + 1], heap[child])) {
            child++;
        }
        if (!before(heap[child], last)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    if (heap_len > 0) {
        heap[at] = last;
    }
    return first;
}

static struct sim_event *new_event(uint64_t us, struct sim_process *owner, void (*run)(void *context),
                                   void *context)
{
    struct sim_event *event = calloc(1, sizeof(*event));
    if (event == NULL) {
        abort();
    }
    *event =
        (struct sim_event){.at = us, .serial = ++next_serial, .owner = owner, .run = run, .context = context};
    return event;
}

struct sim_event *sim_at(uint64_t us, struct sim_process *owner, void (*run)(void *context), void *context)
{
    struct sim_event *event = new_event(us < now_us ? now_us : us, owner, run, context);
    heap_add(event);
    return event;
}

/* Timers that repeat sleep when nothing else happens; these are woken. */
static struct sim_event *sleepers[64];
static size_t sleeper_count;

void sim_wake(struct sim_process *process)
{
    if (process == NULL) {
        return;
    }
    process->idle = 0;
    for (size_t i = sleeper_count; i > 0; i--) {
        struct sim_event *event = sleepers[i - 1];
        if (event->owner == process && !event->cancelled) {
            sleepers[i - 1] = sleepers[--sleeper_count];
            event->at = now_us + event->repeat_us;
            event->serial = ++next_serial;
            event->sleeping = false;
            heap_add(event);
        }
    }
}

static void run_event(struct sim_event *event)
{
    struct sim_process *owner = event->owner;
    bool repeats = event->repeat_us > 0 && !event->once;
    if (repeats) {
        owner->idle++;
        if (owner->idle > IDLE_REPEATS * 2) {
            event->sleeping = true;
            sleepers[sleeper_count++] = event;
        } else {
            event->at = now_us + event->repeat_us;
            event->serial = ++next_serial;
            heap_add(event);
        }
    }
    if (owner != NULL) {
        sim_enter(owner);
        event->run(event->context);
        sim_leave();
    } else {
        event->run(event->context);
    }
    if (!repeats) {
        free(event);
    }
}

bool sim_step(uint64_t until)
{
    while (heap_len > 0 && heap[0]->cancelled) {
        free(heap_take());
    }
    if (heap_len == 0 || heap[0]->at > until) {
        now_us = until > now_us ? until : now_us;
        return false;
    }
    struct sim_event *event = heap_take();
    now_us = event->at > now_us ? event->at : now_us;
    run_event(event);
    return true;
}

static void forget_events(struct sim_process *process)
{
    for (size_t i = 0; i < heap_len; i++) {
        heap[i]->cancelled = heap[i]->cancelled || heap[i]->owner == process;
    }
    for (size_t i = sleeper_count; i > 0; i--) {
        if (sleepers[i - 1]->owner == process) {
            free(sleepers[i - 1]);
            sleepers[i - 1] = sleepers[--sleeper_count];
        }
    }
}

/* The loop, as roles know it. */

struct loop *loop_new(void)
{
    return NULL;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

uint64_t loop_now(const struct loop *loop)
{
    (void)loop;
    return clock_monotonic_ms();
}

int loop_watch(struct loop *loop, struct loop_watch *watch, int fd, unsigned what,
               void (*ready)(void *context, unsigned what), void *context)
{
    watch->loop = loop;
    watch->ready = ready;
    watch->context = context;
    watch->event.ev_fd = fd;
    return sim_watch_fd(watch, fd, what);
}

int loop_rewatch(struct loop_watch *watch, unsigned what)
{
    return sim_watch_fd(watch, watch->event.ev_fd, what);
}

void loop_unwatch(struct loop_watch *watch)
{
    if (watch->loop != NULL) {
        sim_unwatch_fd(watch->event.ev_fd);
        watch->loop = NULL;
    }
}

static struct sim_event *timer_event(const struct loop_timer *timer)
{
    struct sim_event *event;
    memcpy(&event, &timer->event, sizeof(event));
    return event;
}

static void timer_due(void *context)
{
    struct loop_timer *timer = context;
    if (timer_event(timer)->repeat_us == 0 || timer_event(timer)->once) {
        timer->loop = NULL;
    }
    timer->expired(timer->context);
}

void loop_timer_stop(struct loop_timer *timer)
{
    if (timer->loop == NULL) {
        return;
    }
    struct sim_event *event = timer_event(timer);
    if (event->sleeping) {
        for (size_t i = 0; i < sleeper_count; i++) {
            if (sleepers[i] == event) {
                sleepers[i] = sleepers[--sleeper_count];
                free(event);
                break;
            }
        }
    } else {
        event->cancelled = true;
    }
    timer->loop = NULL;
}

/* Compaction looks for work every second. */
static bool is_look(void (*expired)(void *context), uint64_t ms)
{
    return expired == store_compact_due && ms >= 1000;
}

int loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t ms, bool repeat,
                     void (*expired)(void *context), void *context)
{
    loop_timer_stop(timer);
    timer->loop = loop;
    timer->expired = expired;
    timer->context = context;
    bool looks = is_look(expired, ms);
    if (looks && ++loop->process->idle > IDLE_REPEATS * 2) {
        struct sim_event *sleeper = new_event(now_us, loop->process, timer_due, timer);
        sleeper->repeat_us = ms * SIM_MS;
        sleeper->once = true;
        sleeper->sleeping = true;
        sleepers[sleeper_count++] = sleeper;
        memcpy(&timer->event, &sleeper, sizeof(sleeper));
        return 0;
    }
    struct sim_event *event = sim_at(now_us + ms * SIM_MS, loop->process, timer_due, timer);
    event->repeat_us = repeat || looks ? ms * SIM_MS : 0;
    event->once = looks;
    memcpy(&timer->event, &event, sizeof(event));
    return 0;
}

void loop_defer(struct loop *loop, struct loop_task *task, void (*run)(void *context), void *context)
{
    if (task->queued) {
        return;
    }
    *task = (struct loop_task){.run = run, .context = context, .queued = true};
    *loop->last = task;
    loop->last = &task->next;
}

void loop_undefer(struct loop *loop, struct loop_task *task)
{
    struct loop_task **link = &loop->first;
    if (!task->queued) {
        return;
    }
    while (*link != task) {
        link = &(*link)->next;
    }
    *link = task->next;
    if (loop->last == &task->next) {
        loop->last = link;
    }
    task->queued = false;
}

/* The disk: real files, with faults before they are touched. */

static bool write_fails(void)
{
    if (sim_disk_full || (sim_write_fault > 0 && --sim_write_fault == 0)) {
        errno = ENOSPC;
        return true;
    }
    return false;
}

static int disk_openat(int dir, const char *name, int flags, mode_t mode)
{
    if ((flags & O_CREAT) != 0 && write_fails()) {
        return -1;
    }
    return openat(dir, name, flags, mode);
}

static ssize_t disk_writev(int fd, const struct iovec *parts, int count)
{
    return write_fails() ? -1 : writev(fd, parts, count);
}

static int disk_sync(int fd)
{
    (void)fd;
    return 0;
}

static int disk_unlinkat(int dir, const char *name, int flags)
{
    return unlinkat(dir, name, flags);
}

static int64_t disk_free_space(int fd)
{
    (void)fd;
    return sim_disk_full && sim_disk_honest ? 0 : 100LL << 30;
}

static int disk_file(enum io_file_call call, const char *name, const void *data, size_t *len, off_t offset)
{
    (void)name;
    (void)data;
    (void)len;
    (void)offset;
    bool grows = call == IO_FILE_CREATE || call == IO_FILE_WRITE;
    return grows && write_fails() ? ENOSPC : 0;
}

const struct io io_system = {.openat = disk_openat,
                             .writev = disk_writev,
                             .pread = pread,
                             .fdatasync = disk_sync,
                             .fsync = disk_sync,
                             .unlinkat = disk_unlinkat,
                             .mkdir = mkdir,
                             .rename = rename,
                             .close = close,
                             .free_space = disk_free_space,
                             .file = disk_file};

static bool kept_fds[SIM_FDS];
static int first_fd;

void sim_own_fd(int fd)
{
    if (fd >= 0 && fd < SIM_FDS) {
        kept_fds[fd] = true;
    }
}

static void give_fd(int fd, bool keep)
{
    if (fd >= 0 && fd < SIM_FDS) {
        kept_fds[fd] = keep;
    }
}

/* The descriptors that a killed store had. */
static void close_left_over(void)
{
    for (int fd = first_fd; fd < FIRST_FD_MAX; fd++) {
        if (!kept_fds[fd]) {
            close(fd);
        }
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
    give_fd(p->fd, false);
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
        give_fd(p->fd, false);
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
        give_fd(fd, true);
        uint64_t at = now_us + LATENCY_US + sim_below(LATENCY_US * 5);
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
                uint64_t at = now_us + LATENCY_US;
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
        close_left_over();
    }
    process->alive = false;
    sim_net_process_gone(process);
    forget_events(process);
    close_channels(process);
    free_pieces(&process->memory);
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
        give_fd(fd, false);
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

/* There is one connection to the index: SQLite's locks on its files, a third of all the time, are left out. */
static int without_locks(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    if (command == F_GETLK) {
        ((struct flock *)argument)->l_type = F_UNLCK;
    }
    return command == F_SETLK || command == F_GETLK ? 0 : fcntl(fd, command, argument);
}

static void spare_locks(void)
{
    sqlite3_vfs *files = sqlite3_vfs_find("unix");
    if (files != NULL && files->xSetSystemCall != NULL) {
        files->xSetSystemCall(files, "fcntl", (sqlite3_syscall_ptr)without_locks);
    }
}

void sim_reset(uint64_t seed)
{
    state = seed * 0x2545f4914f6cdd1dU + 88172645463325252U;
    now_us = 0;
    wall_offset_ms = 0;
    next_instance = 100;
    sim_disk_full = false;
    sim_write_fault = 0;
    current = NULL;
    memset(kept_fds, 0, sizeof(kept_fds));
    first_fd = dup(0);
    close(first_fd);
    spare_locks();
    index_file_watch(&io_system);
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
    while (heap_len > 0) {
        struct sim_event *event = heap_take();
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
    sleeper_count = 0;
    free_pieces(&world_memory);
    close_left_over();
    for (int fd = first_fd; fd < FIRST_FD_MAX; fd++) {
        close(fd);
    }
}
