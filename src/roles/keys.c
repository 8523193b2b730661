/*
 * The keys role: private keys of TLS, the pepper of passwords, the key of grants, the passwords of smarthosts. It signs, it
 * verifies passwords (keys_passwords.c), and it says whose session it is then, by a grant that nobody else can make. It knows no
 * mail and has no network.
 */
#include "roles/keys_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "ipc/proto_queue.h"

#include <unistd.h>

static void ask_route_secret(struct keys *k, struct role_peer *peer, const struct route_secret_query *ask)
{
    struct route_secret_answer answer = {.ticket = ask->ticket, .password = STR_EMPTY};
    for (size_t i = 0; i < k->route_count; i++) {
        if (str_equal(buf_str(&k->routes[i].name), ask->route)) {
            answer.found = 1;
            answer.password = buf_str(&k->routes[i].password);
        }
    }
    role_send(peer, &route_secret_answer_type, &answer);
}

static void peer_message(struct role *role, struct role_peer *peer, const struct ipc_type *type,
                         const void *message, int fd)
{
    (void)fd;
    struct keys *k = role->data;
    if (type == &auth_verify_type) {
        passwords_verify(k, peer, message);
    } else if (type == &credential_answer_type) {
        passwords_credential(k, message);
    } else if (type == &credential_make_type) {
        passwords_make(k, peer, message);
    } else if (type == &credential_forget_type) {
        passwords_forget(k, ((const struct credential_forget *)message)->account);
    } else if (type == &route_secret_query_type) {
        ask_route_secret(k, peer, message);
    }
}

/* A new store may be here before the old one is known to be gone. */
static void peer_changed(struct role *role, struct role_peer *peer)
{
    if (peer->kind == ROLE_STORE && role->data != NULL) {
        passwords_ask_again(role->data);
    }
}

/* Signing. */

/*
 * The supervisor sends a new key to this role before it sends the certificate to those who ask; so what they ask for waits here at
 * the latest.
 */
static void take_new_keys(void *context)
{
    struct role *role = context;
    if (role->control != NULL) {
        channel_drain(role->control);
    }
}

static void signer_ready(void *context, unsigned what)
{
    (void)what;
    struct signer *signer = context;
    if (key_ring_serve(signer->keys->ring, signer->fd, take_new_keys, signer->keys->role)) {
        return;
    }
    loop_unwatch(&signer->watch);
    close(signer->fd);
    for (size_t i = 0; i < SIGNERS_MAX; i++) {
        if (signer->keys->signers[i] == signer) {
            signer->keys->signers[i] = NULL;
        }
    }
    mem_free(signer);
}

/* Secrets may come before anything else. */
static struct keys *state_of(struct role *role)
{
    if (role->data == NULL) {
        struct keys *k = mem_new(struct keys);
        if (k != NULL) {
            k->role = role;
            k->ring = key_ring_new();
        }
        role->data = k;
    }
    return role->data;
}

static void signing(struct role *role, enum role_kind kind, uint32_t instance, int fd)
{
    (void)kind;
    (void)instance;
    struct keys *k = state_of(role);
    for (size_t i = 0; k != NULL && i < SIGNERS_MAX; i++) {
        if (k->signers[i] == NULL) {
            struct signer *signer = mem_new(struct signer);
            if (signer == NULL) {
                break;
            }
            signer->keys = k;
            signer->fd = fd;
            if (loop_watch(role->loop, &signer->watch, fd, LOOP_READ, signer_ready, signer) != 0) {
                mem_free(signer);
                break;
            }
            k->signers[i] = signer;
            return;
        }
    }
    close(fd);
}

static bool take_key(struct buf *content, unsigned char *key, size_t size)
{
    bool fine = content->len == size;
    if (fine) {
        memcpy(key, content->data, size);
    }
    return fine;
}

static void keep_route_password(struct keys *k, struct str name, struct str password)
{
    size_t at = 0;
    while (at < k->route_count && !str_equal(buf_str(&k->routes[at].name), name)) {
        at++;
    }
    if (at == ROUTES_MAX) {
        return;
    }
    struct route_secret *route = &k->routes[at];
    if (at == k->route_count) {
        *route = (struct route_secret){.name = buf_make(256), .password = buf_make(1024)};
        buf_append_str(&route->name, name);
        k->route_count++;
    }
    buf_wipe(&route->password);
    while (password.len > 0 &&
           (password.data[password.len - 1] == '\n' || password.data[password.len - 1] == '\r')) {
        password.len--;
    }
    buf_append_str(&route->password, password);
}

static void secret(struct role *role, enum secret_kind kind, struct str name, int fd)
{
    struct keys *k = state_of(role);
    struct buf content = buf_make(1 << 20);
    if (!role_read_fd(fd, 1 << 20, &content) || k == NULL) {
        log_error("a secret cannot be read");
    } else if (kind == SECRET_TLS_KEY) {
        if (!key_ring_add(k->ring, name, buf_str(&content))) {
            log_error("tls %.*s: there is no usable private key in the key file", STR_ARGS(name));
        }
    } else if (kind == SECRET_PEPPER) {
        k->has_pepper = take_key(&content, k->pepper, sizeof(k->pepper));
    } else if (kind == SECRET_GRANT_KEY) {
        k->has_grant_key = take_key(&content, k->grant_key, sizeof(k->grant_key));
    } else if (kind == SECRET_ROUTE_PASSWORD) {
        keep_route_password(k, name, buf_str(&content));
    }
    buf_wipe(&content);
}

static int prepare(struct role *role)
{
    struct keys *k = state_of(role);
    if (k == NULL || k->ring == NULL || !k->has_pepper || !k->has_grant_key) {
        log_error("the secrets did not come from the supervisor");
        return -1;
    }
    if (!tls_setup(NULL, NULL) || !passwords_prepare(k)) {
        log_error("the cryptographic libraries cannot be set up");
        return -1;
    }
    return 0;
}

static int start(struct role *role)
{
    return passwords_start(role->data) ? 0 : -1;
}

static void drain(struct role *role)
{
    role_drained(role, 0);
}

static const struct role_protocol protocols[] = {{ROLE_SMTPD_MX, &auth_to_keys},
                                                 {ROLE_SMTPD_MSA, &auth_to_keys},
                                                 {ROLE_IMAPD, &auth_to_keys},
                                                 {ROLE_STORE, &credential_to_keys},
                                                 {ROLE_RELAY, &route_secret_to_keys}};

const struct role_module role_keys = {.kind = ROLE_KEYS,
                                      .protocols = protocols,
                                      .protocol_count = sizeof(protocols) / sizeof(protocols[0]),
                                      .prepare = prepare,
                                      .start = start,
                                      .peer_message = peer_message,
                                      .peer_up = peer_changed,
                                      .peer_down = peer_changed,
                                      .signing = signing,
                                      .secret = secret,
                                      .drain = drain};
