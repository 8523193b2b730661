/*
 * A client of TLS 1.3 (RFC 8446) that does what a full handshake demands of it and nothing else: it looks at no certificate and at
 * no signature. So it takes a fraction of the time that a client with OpenSSL takes, and what is measured is the server. Each
 * connection has a key share of its own and counts once the server has taken our Finished and sent something under its
 * application keys.
 * X25519, TLS_CHACHA20_POLY1305_SHA256, no resumption, TLS from the first octet. Prints one JSON object. Used by bench/run.py.
 *
 *   handshakes HOST PORT SESSIONS COUNT
 */
#include "connect.h"

#include <pthread.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SESSIONS_MAX = 1000,
    HASH = 32,
    TAG = 16,
    RECORD_HEAD = 5,
    RECORD_MAX = RECORD_HEAD + (1 << 14) + 256,
    FLIGHT_MAX = 1 << 16
};

enum record_type { CHANGE_CIPHER_SPEC = 20, HANDSHAKE = 22, APPLICATION_DATA = 23 };
enum message_type { SERVER_HELLO = 2, FINISHED = 20 };

static struct {
    const char *host;
    unsigned port;
    unsigned count;
    unsigned next;
    unsigned failed;
} load;

/* One direction's keys. */
struct keys {
    unsigned char key[crypto_aead_chacha20poly1305_ietf_KEYBYTES];
    unsigned char iv[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    uint64_t sequence;
};

struct client {
    int fd;
    unsigned char in[2 * RECORD_MAX];
    size_t len;
    unsigned char private_key[32];
    crypto_hash_sha256_state transcript;
    unsigned char secret[HASH]; /* the key schedule's, as far as it has come (section 7.1) */
    struct keys from_server;
    struct keys to_server;
    unsigned char to_server_secret[HASH];
};

/* Key schedule. */

static void hmac(const unsigned char key[HASH], const unsigned char *data, size_t len,
                 unsigned char out[HASH])
{
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, key, HASH);
    crypto_auth_hmacsha256_update(&state, data, len);
    crypto_auth_hmacsha256_final(&state, out);
}

/* HKDF-Expand-Label of at most HASH octets. */
static void expand(const unsigned char secret[HASH], const char *label, const unsigned char *context,
                   size_t context_len, unsigned char *out, size_t len)
{
    unsigned char info[128];
    unsigned char block[HASH];
    size_t label_len = strlen(label);
    size_t at = 0;
    info[at++] = 0;
    info[at++] = (unsigned char)len;
    info[at++] = (unsigned char)(6 + label_len);
    memcpy(info + at, "tls13 ", 6);
    memcpy(info + at + 6, label, label_len);
    at += 6 + label_len;
    info[at++] = (unsigned char)context_len;
    if (context_len > 0) {
        memcpy(info + at, context, context_len);
    }
    at += context_len;
    info[at++] = 1;
    hmac(secret, info, at, block);
    memcpy(out, block, len);
}

/* The next secret of the schedule, from `input`. */
static void extract(struct client *c, const unsigned char input[HASH])
{
    unsigned char nothing[HASH];
    unsigned char salt[HASH];
    crypto_hash_sha256(nothing, NULL, 0);
    expand(c->secret, "derived", nothing, HASH, salt, HASH);
    hmac(salt, input, HASH, c->secret);
}

static void transcript_hash(const struct client *c, unsigned char out[HASH])
{
    crypto_hash_sha256_state copy = c->transcript;
    crypto_hash_sha256_final(&copy, out);
}

static void set_keys(struct keys *keys, const unsigned char secret[HASH])
{
    expand(secret, "key", NULL, 0, keys->key, sizeof(keys->key));
    expand(secret, "iv", NULL, 0, keys->iv, sizeof(keys->iv));
    keys->sequence = 0;
}

static void next_nonce(struct keys *keys, unsigned char nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES])
{
    memcpy(nonce, keys->iv, sizeof(keys->iv));
    for (unsigned i = 0; i < 8; i++) {
        nonce[11 - i] ^= (unsigned char)(keys->sequence >> 8 * i);
    }
    keys->sequence++;
}

/* Records. */

static bool send_all(int fd, const unsigned char *data, size_t len)
{
    return send(fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* Reads a record; it lies in c->in until it is dropped. Its length with the head, or 0. */
static size_t read_record(struct client *c)
{
    for (;;) {
        size_t len = c->len < RECORD_HEAD ? 0 : RECORD_HEAD + ((size_t)c->in[3] << 8 | c->in[4]);
        if (len > RECORD_MAX) {
            return 0;
        }
        if (len > 0 && c->len >= len) {
            return len;
        }
        ssize_t n = recv(c->fd, c->in + c->len, sizeof(c->in) - c->len, 0);
        if (n <= 0) {
            return 0;
        }
        c->len += (size_t)n;
    }
}

static void drop_record(struct client *c, size_t len)
{
    memmove(c->in, c->in + len, c->len - len);
    c->len -= len;
}

/* The next encrypted record: its content into `out`, at most RECORD_MAX octets. Its inner type, or -1. */
static int read_encrypted(struct client *c, unsigned char *out, size_t *out_len)
{
    unsigned char nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    unsigned long long len;
    size_t record;
    while ((record = read_record(c)) > 0 && c->in[0] == CHANGE_CIPHER_SPEC) {
        drop_record(c, record);
    }
    if (record < RECORD_HEAD + TAG + 1 || c->in[0] != APPLICATION_DATA) {
        return -1;
    }
    next_nonce(&c->from_server, nonce);
    if (crypto_aead_chacha20poly1305_ietf_decrypt(out, &len, NULL, c->in + RECORD_HEAD, record - RECORD_HEAD,
                                                  c->in, RECORD_HEAD, nonce, c->from_server.key) != 0) {
        return -1;
    }
    drop_record(c, record);
    while (len > 0 && out[len - 1] == 0) {
        len--;
    }
    *out_len = len == 0 ? 0 : (size_t)len - 1;
    return len == 0 ? -1 : out[len - 1];
}

/* The handshake. */

static bool say_hello(struct client *c)
{
    static const unsigned char fixed[] = {
        0x00, 0x02, 0x13, 0x03,                         /* cipher suites */
        0x01, 0x00,                                     /* no compression */
        0x00, 0x55,                                     /* octets of extensions */
        0x00, 0x2b, 0x00, 0x03, 0x02, 0x03, 0x04,       /* supported_versions: 1.3 */
        0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x1d, /* supported_groups: x25519 */
        /* signature_algorithms: ECDSA with P-256, Ed25519, RSA-PSS, and those of RSA for what else stands in the chain */
        0x00, 0x0d, 0x00, 0x12, 0x00, 0x10, 0x04, 0x03, 0x08, 0x07, 0x08, 0x04, 0x08, 0x05, 0x08, 0x06, 0x04,
        0x01, 0x05, 0x01, 0x06, 0x01, 0x00, 0x2d, 0x00, 0x02, 0x01, 0x01, /* psk_key_exchange_modes */
        0x00, 0x33, 0x00, 0x26, 0x00, 0x24, 0x00, 0x1d, 0x00, 0x20};      /* key_share: x25519 */
    unsigned char hello[RECORD_HEAD + 4 + 2 + 32 + 1 + sizeof(fixed) + 32] = {
        HANDSHAKE, 3, 1, 0, sizeof(hello) - RECORD_HEAD, 1, 0, 0, sizeof(hello) - RECORD_HEAD - 4, 3, 3};
    size_t at = RECORD_HEAD + 4 + 2;
    randombytes_buf(hello + at, 32);
    at += 32 + 1; /* no session id */
    memcpy(hello + at, fixed, sizeof(fixed));
    randombytes_buf(c->private_key, sizeof(c->private_key));
    crypto_scalarmult_base(hello + at + sizeof(fixed), c->private_key);
    crypto_hash_sha256_init(&c->transcript);
    crypto_hash_sha256_update(&c->transcript, hello + RECORD_HEAD, sizeof(hello) - RECORD_HEAD);
    return send_all(c->fd, hello, sizeof(hello));
}

/* The server's key share, or NULL. */
static const unsigned char *find_key_share(const unsigned char *message, size_t len)
{
    size_t at = 4 + 2 + 32;
    at += len > at ? 1 + (size_t)message[at] : 0;
    at += 2 + 1 + 2;
    while (at + 4 <= len) {
        size_t size = (size_t)message[at + 2] << 8 | message[at + 3];
        if (message[at] == 0 && message[at + 1] == 0x33 && size == 36 && at + 4 + size <= len) {
            return message + at + 8;
        }
        at += 4 + size;
    }
    return NULL;
}

static bool take_hello(struct client *c)
{
    static const unsigned char zeros[HASH];
    unsigned char shared[HASH];
    unsigned char hash[HASH];
    unsigned char secret[HASH];
    size_t record = read_record(c);
    const unsigned char *message = c->in + RECORD_HEAD;
    if (record < RECORD_HEAD + 4 || c->in[0] != HANDSHAKE || message[0] != SERVER_HELLO) {
        return false;
    }
    const unsigned char *share = find_key_share(message, record - RECORD_HEAD);
    if (share == NULL || crypto_scalarmult(shared, c->private_key, share) != 0) {
        return false;
    }
    crypto_hash_sha256_update(&c->transcript, message, record - RECORD_HEAD);
    drop_record(c, record);
    hmac(zeros, zeros, HASH, c->secret);
    extract(c, shared);
    transcript_hash(c, hash);
    expand(c->secret, "s hs traffic", hash, HASH, secret, HASH);
    set_keys(&c->from_server, secret);
    expand(c->secret, "c hs traffic", hash, HASH, c->to_server_secret, HASH);
    set_keys(&c->to_server, c->to_server_secret);
    extract(c, zeros);
    return true;
}

/* EncryptedExtensions to Finished. */
static bool take_flight(struct client *c)
{
    unsigned char flight[FLIGHT_MAX + RECORD_MAX];
    size_t len = 0;
    size_t at = 0;
    for (;;) {
        while (len - at >= 4) {
            size_t size = 4 + ((size_t)flight[at + 1] << 16 | (size_t)flight[at + 2] << 8 | flight[at + 3]);
            if (size > len - at) {
                break;
            }
            crypto_hash_sha256_update(&c->transcript, flight + at, size);
            if (flight[at] == FINISHED) {
                return true;
            }
            at += size;
        }
        size_t more;
        if (len > FLIGHT_MAX || read_encrypted(c, flight + len, &more) != HANDSHAKE) {
            return false;
        }
        len += more;
    }
}

static bool finish(struct client *c)
{
    unsigned char hash[HASH];
    unsigned char key[HASH];
    unsigned char message[4 + HASH + 1] = {FINISHED, 0, 0, HASH};
    unsigned char record[RECORD_HEAD + sizeof(message) + TAG] = {APPLICATION_DATA, 3, 3, 0,
                                                                 sizeof(message) + TAG};
    unsigned char nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    transcript_hash(c, hash);
    expand(c->to_server_secret, "finished", NULL, 0, key, HASH);
    hmac(key, hash, HASH, message + 4);
    message[4 + HASH] = HANDSHAKE;
    next_nonce(&c->to_server, nonce);
    crypto_aead_chacha20poly1305_ietf_encrypt(record + RECORD_HEAD, NULL, message, sizeof(message), record,
                                              RECORD_HEAD, NULL, nonce, c->to_server.key);
    expand(c->secret, "s ap traffic", hash, HASH, key, HASH);
    set_keys(&c->from_server, key);
    return send_all(c->fd, record, sizeof(record));
}

/* A ticket or the greeting: no server sends either before it has checked our Finished, and an alert is of another type. */
static bool is_taken(struct client *c)
{
    unsigned char content[RECORD_MAX];
    size_t len;
    int type = read_encrypted(c, content, &len);
    return type == HANDSHAKE || type == APPLICATION_DATA;
}

static bool connect_to_server(struct client *c, unsigned number)
{
    struct timeval patience = {.tv_sec = 10};
    c->fd = connect_from(load.host, load.port, number);
    c->len = 0;
    return c->fd >= 0 && setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0;
}

static void *work(void *context)
{
    struct client *c = context;
    unsigned number;
    while ((number = __atomic_fetch_add(&load.next, 1, __ATOMIC_RELAXED)) < load.count) {
        bool fine = connect_to_server(c, number) && say_hello(c) && take_hello(c) && take_flight(c) &&
                    finish(c) && is_taken(c);
        __atomic_fetch_add(&load.failed, (unsigned)!fine, __ATOMIC_RELAXED);
        if (c->fd >= 0) {
            close(c->fd);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int sessions = argc == 5 ? (int)strtol(argv[3], NULL, 10) : 0;
    if (sessions < 1 || sessions > SESSIONS_MAX || sodium_init() < 0) {
        fprintf(stderr, "usage: handshakes HOST PORT SESSIONS COUNT\n");
        return 64;
    }
    load.host = argv[1];
    load.port = (unsigned)strtoul(argv[2], NULL, 10);
    load.count = (unsigned)strtoul(argv[4], NULL, 10);
    pthread_t threads[SESSIONS_MAX];
    struct client *clients = calloc((size_t)sessions, sizeof(*clients));
    for (int i = 0; i < sessions; i++) {
        if (clients == NULL || pthread_create(&threads[i], NULL, work, &clients[i]) != 0) {
            fprintf(stderr, "handshakes: no thread\n");
            return 71;
        }
    }
    for (int i = 0; i < sessions; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("{\"failed\": %u, \"cpu_seconds\": %.4f}\n", load.failed, (double)clock() / CLOCKS_PER_SEC);
    free(clients);
    return load.failed > 0;
}
