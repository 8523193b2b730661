/*
 * The relay role: delivers to other hosts by SMTP and LMTP. Takes jobs from the store, asks resolver, keys and reader, and
 * tells the store what became of each recipient. It has no files and decides nothing about retries and bounces.
 */
#include "roles/relay_private.h"

#include "base/domain.h"
#include "base/log.h"
#include "base/mem.h"

#include <ifaddrs.h>
#include <netinet/in.h>

enum { ROOM_PER_CONNECTION = 5, ROOM_MIN = 50, ROOM_MAX = 5000, AUTHORITIES_MAX = 8 << 20 };

static struct relay *state_of(struct role *role)
{
    if (role->data == NULL) {
        struct relay *relay = mem_new(struct relay);
        if (relay != NULL) {
            relay->role = role;
            relay->authorities = buf_make(AUTHORITIES_MAX);
        }
        role->data = relay;
    }
    return role->data;
}

/* What is ours, so that loops are seen. */

static void add_own_address(struct plan_self *self, const void *bytes, size_t len)
{
    if (self->address_count < PLAN_SELF_MAX) {
        struct plan_address *address = &self->addresses[self->address_count++];
        address->len = (uint8_t)len;
        memcpy(address->bytes, bytes, len);
    }
}

/* Asking the system for its interfaces needs a kind of socket that the sandbox does not allow. */
static void read_interfaces(struct plan_self *self)
{
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) != 0) {
        return;
    }
    for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
        if (i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET) {
            add_own_address(self, &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr, 4);
        } else if (i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET6) {
            add_own_address(self, &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr, 16);
        }
    }
    freeifaddrs(list);
}

static void add_listener(struct relay *relay, const struct config_listener *listener)
{
    struct plan_self *self = &relay->self;
    if (self->port_count < PLAN_PORTS_MAX) {
        self->ports[self->port_count++] = (uint16_t)listener->port;
    }
    for (size_t i = 0; i < listener->address_count; i++) {
        char area[80];
        unsigned char bytes[16];
        size_t len = 0;
        struct str text = listener->addresses[i];
        struct buf literal = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        buf_append_str(&literal, str_find(text, 0, ':') == SIZE_MAX ? STR("[") : STR("[IPv6:"));
        buf_append_str(&literal, text);
        buf_append_char(&literal, ']');
        static const unsigned char any[16] = {0};
        if (!buf_ok(&literal) || !domain_is_literal(buf_str(&literal), bytes, &len)) {
            continue;
        }
        if (memcmp(bytes, any, len) != 0) {
            add_own_address(self, bytes, len);
            continue;
        }
        for (size_t k = 0; k < relay->interfaces.address_count; k++) {
            add_own_address(self, relay->interfaces.addresses[k].bytes, relay->interfaces.addresses[k].len);
        }
    }
}

static void learn_self(struct relay *relay)
{
    const struct config *config = relay->role->config;
    relay->self = (struct plan_self){.name = config->hostname};
    for (size_t i = 0; i < config->listener_count; i++) {
        if (config->listeners[i].kind == LISTENER_MX) {
            add_listener(relay, &config->listeners[i]);
        }
    }
}

/* TLS */

static void make_tls(struct relay *relay)
{
    struct buf errors = buf_make(4096);
    struct tls_context *context = tls_client_context(buf_str(&relay->authorities), &errors);
    relay->has_authorities = context != NULL && relay->authorities.len > 0;
    if (context == NULL && relay->authorities.len > 0) {
        log_error("%.*s", STR_ARGS(buf_str(&errors)));
        context = tls_client_context(STR_EMPTY, &errors);
    }
    if (context != NULL) {
        tls_context_free(relay->tls);
        relay->tls = context;
    }
    buf_free(&errors);
}

static void secret(struct role *role, enum secret_kind kind, struct str name, int fd)
{
    (void)name;
    struct relay *relay = state_of(role);
    struct buf pem = buf_make(AUTHORITIES_MAX);
    bool fine = role_read_fd(fd, AUTHORITIES_MAX, &pem);
    if (relay == NULL || kind != SECRET_CA_BUNDLE || !fine) {
        buf_free(&pem);
        return;
    }
    buf_free(&relay->authorities);
    relay->authorities = pem;
    if (relay->tls != NULL) {
        make_tls(relay);
    }
}

/* Limits and scheduling. */

static void schedule(void *context)
{
    relay_jobs_schedule(context);
}

void relay_schedule_soon(struct relay *relay)
{
    loop_defer(relay->role->loop, &relay->schedule, schedule, relay);
}

void relay_give_room(struct relay *relay, uint32_t jobs)
{
    struct role_peer *store = role_peer_of(relay->role, ROLE_STORE);
    relay->room_owed += jobs;
    if (!relay->started || store == NULL || (!relay->introduced && !relay_jobs_tell_held(relay))) {
        return;
    }
    struct queue_room room = {.jobs = relay->role->draining ? 0 : relay->room_owed};
    if ((room.jobs > 0 || !relay->introduced) && role_send(store, &queue_room_type, &room)) {
        relay->introduced = true;
        relay->room_owed -= room.jobs;
    }
}

static uint32_t room_for(const struct relay *relay)
{
    uint32_t room = relay->role->config->relay.connections * ROOM_PER_CONNECTION;
    return room < ROOM_MIN ? ROOM_MIN : room > ROOM_MAX ? ROOM_MAX : room;
}

/* Life. */

static int prepare(struct role *role)
{
    struct relay *relay = state_of(role);
    if (relay == NULL || !tls_setup(NULL, NULL)) {
        log_error("the relay cannot be set up: out of memory, or OpenSSL cannot be initialised");
        return -1;
    }
    make_tls(relay);
    if (relay->tls == NULL) {
        log_error("TLS for connections to other hosts cannot be set up");
        return -1;
    }
    read_interfaces(&relay->interfaces);
    return 0;
}

/* A new store knows nothing of what the old one was told. */
static void greet_store(struct relay *relay)
{
    if (relay->started) {
        relay->room_owed = 0;
        relay->introduced = false;
        relay_give_room(relay, room_for(relay));
    }
}

/* The store may have come before: no job may come before the sandbox is there. */
static int start(struct role *role)
{
    struct relay *relay = role->data;
    learn_self(relay);
    relay->started = true;
    if (role_peer_of(role, ROLE_STORE) != NULL) {
        greet_store(relay);
    }
    return 0;
}

static void peer_up(struct role *role, struct role_peer *peer)
{
    struct relay *relay = state_of(role);
    if (relay == NULL) {
        return;
    }
    switch (peer->kind) {
    case ROLE_STORE: greet_store(relay); break;
    case ROLE_READER: relay_lines_ask_again(relay); break;
    default: relay_jobs_ask_again(relay, peer->kind); break;
    }
}

static void peer_down(struct role *role, struct role_peer *peer)
{
    struct relay *relay = role->data;
    if (peer->kind == ROLE_STORE) {
        relay_jobs_store_down(relay);
        relay_check_drained(relay);
    } else if (peer->kind == ROLE_READER) {
        relay_lines_ask_again(relay); /* another reader, if there is one */
    }
}

static void peer_writable(struct role *role, struct role_peer *peer)
{
    if (peer->kind == ROLE_STORE) {
        relay_jobs_resend(role->data);
        relay_give_room(role->data, 0);
    }
}

static void peer_message(struct role *role, struct role_peer *peer, const struct ipc_type *type,
                         const void *message, int fd)
{
    (void)peer;
    (void)fd;
    struct relay *relay = role->data;
    if (type == &queue_job_type) {
        relay_job_take(relay, message);
    } else if (type == &queue_recipient_type) {
        relay_job_take_recipient(relay, message);
    } else if (type == &queue_acknowledged_type) {
        relay_job_acknowledged(relay, ((const struct queue_acknowledged *)message)->job);
    } else if (type == &resolve_mx_answer_type) {
        relay_job_mx_answer(relay, message);
    } else if (type == &resolve_host_answer_type) {
        relay_job_host_answer(relay, message);
    } else if (type == &route_secret_answer_type) {
        relay_job_secret_answer(relay, message);
    } else if (type == &body_bytes_type) {
        relay_line_body(relay, message);
    }
}

static void configured(struct role *role)
{
    struct relay *relay = role->data;
    learn_self(relay);
    relay_lines_end_idle(relay, true);
    relay_schedule_soon(relay);
}

void relay_check_drained(struct relay *relay)
{
    if (!relay->role->draining || relay->drained) {
        return;
    }
    bool store = role_peer_of(relay->role, ROLE_STORE) != NULL;
    for (const struct relay_job *job = relay->jobs; job != NULL; job = job->next) {
        if (job->line != NULL || (store && !job->orphan)) {
            return; /* under way, or not acknowledged */
        }
    }
    relay->drained = true;
    role_drained(relay->role, 0);
}

/* What has begun is finished; everything else goes back to the queue. */
static void drain(struct role *role)
{
    struct relay *relay = role->data;
    relay_lines_end_idle(relay, false);
    relay_jobs_drain(relay);
    relay_check_drained(relay);
}

static const struct role_protocol protocols[] = {{ROLE_STORE, &queue_to_relay},
                                                 {ROLE_READER, &body_to_relay},
                                                 {ROLE_RESOLVER, &resolve_from_resolver},
                                                 {ROLE_KEYS, &route_secret_to_relay}};

const struct role_module role_relay = {.kind = ROLE_RELAY,
                                       .protocols = protocols,
                                       .protocol_count = 4,
                                       .prepare = prepare,
                                       .start = start,
                                       .peer_up = peer_up,
                                       .peer_message = peer_message,
                                       .peer_down = peer_down,
                                       .peer_writable = peer_writable,
                                       .secret = secret,
                                       .configured = configured,
                                       .drain = drain};
