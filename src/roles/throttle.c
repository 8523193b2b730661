/* Failed logins; see throttle.h. Two tables of fixed size: guessing fills one, and cannot push anything out of the other. */
#include "roles/throttle.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <assert.h>
#include <sodium.h>

enum {
    SETS = 2048,
    WAYS = 4, /* entries that a tag can be in */
    WINDOW_MS = 60000,
    KNOWN_MS = 14 * 86400 * 1000, /* two weeks */
    SUSPECT_PAIR = 1,
    SUSPECT_CLIENT = 4,
    SUSPECT_LOGIN = 10,
    TEXT_MAX = 640
};

enum kind { PAIR = 'p', CLIENT = 'c', LOGIN = 'l' };

struct entry {
    uint64_t tag;
    uint64_t until_ms; /* 0: free */
    uint32_t failures;
};

struct throttle {
    unsigned char key[THROTTLE_KEY_SIZE];
    struct entry failed[SETS][WAYS];
    struct entry known[SETS][WAYS];
};

static_assert(THROTTLE_KEY_SIZE == crypto_shorthash_KEYBYTES, "SipHash's key");

struct throttle *throttle_new(const unsigned char key[THROTTLE_KEY_SIZE])
{
    struct throttle *t = mem_new(struct throttle);
    if (t != NULL) {
        memcpy(t->key, key, THROTTLE_KEY_SIZE);
    }
    return t;
}

void throttle_free(struct throttle *t)
{
    mem_free(t);
}

static bool is_loopback(struct str client)
{
    return str_starts(client, STR("127.")) || str_equal(client, STR("::1"));
}

/* An address's octets that count as one client, behind what is in `text`. */
static size_t add_client(struct str client, char *text, size_t len)
{
    char address[64] = "";
    struct in6_addr v6;
    if (client.len < sizeof(address)) {
        memcpy(address, client.data, client.len);
    }
    if (inet_pton(AF_INET6, address, &v6) == 1) {
        memcpy(text + len, &v6, 8);
        return len + 8;
    }
    client = str_sub(client, 0, sizeof(address));
    memcpy(text + len, client.data, client.len);
    return len + client.len;
}

static uint64_t tag_of(const struct throttle *t, enum kind kind, struct str client, struct str login)
{
    char text[TEXT_MAX];
    size_t len = 0;
    uint64_t tag = 0;
    text[len++] = (char)kind;
    if (kind != LOGIN) {
        len = add_client(client, text, len);
        text[len++] = '\0';
    }
    if (kind != CLIENT) {
        login = str_sub(login, 0, sizeof(text) - len);
        for (size_t i = 0; i < login.len; i++) {
            text[len++] = ascii_lower(login.data[i]);
        }
    }
    crypto_shorthash((unsigned char *)&tag, (const unsigned char *)text, len, t->key);
    return tag;
}

static const struct entry *find(const struct entry table[SETS][WAYS], uint64_t tag, uint64_t now_ms)
{
    const struct entry *set = table[tag % SETS];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].tag == tag && set[i].until_ms > now_ms) {
            return &set[i];
        }
    }
    return NULL;
}

/* The tag's entry; else a new one in the place of one that is over, or of the one with the fewest failures, then the oldest. */
static struct entry *claim(struct entry table[SETS][WAYS], uint64_t tag, uint64_t now_ms, uint64_t for_ms)
{
    struct entry *set = table[tag % SETS];
    struct entry *worst = &set[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].until_ms <= now_ms) {
            set[i] = (struct entry){0};
        } else if (set[i].tag == tag) {
            return &set[i];
        }
        if (set[i].failures < worst->failures ||
            (set[i].failures == worst->failures && set[i].until_ms < worst->until_ms)) {
            worst = &set[i];
        }
    }
    *worst = (struct entry){.tag = tag, .until_ms = now_ms + for_ms};
    return worst;
}

static uint32_t failures(const struct throttle *t, enum kind kind, struct str client, struct str login,
                         uint64_t now_ms)
{
    const struct entry *entry = find(t->failed, tag_of(t, kind, client, login), now_ms);
    return entry == NULL ? 0 : entry->failures;
}

enum throttle_verdict throttle_ask(const struct throttle *t, struct str client, struct str login,
                                   uint64_t now_ms)
{
    uint32_t of_pair = failures(t, PAIR, client, login, now_ms);
    uint32_t of_client = is_loopback(client) ? 0 : failures(t, CLIENT, client, login, now_ms);
    if (of_pair >= THROTTLE_PAIR_MAX) {
        return THROTTLE_REFUSE;
    }
    if (find(t->known, tag_of(t, PAIR, client, login), now_ms) != NULL) {
        return of_pair < SUSPECT_CLIENT ? THROTTLE_KNOWN : THROTTLE_SUSPECT;
    }
    if (of_client >= THROTTLE_CLIENT_MAX) {
        return THROTTLE_REFUSE;
    }
    bool suspect = of_pair >= SUSPECT_PAIR || of_client >= SUSPECT_CLIENT ||
                   failures(t, LOGIN, client, login, now_ms) >= SUSPECT_LOGIN;
    return suspect ? THROTTLE_SUSPECT : THROTTLE_NEW;
}

void throttle_failed(struct throttle *t, struct str client, struct str login, uint64_t now_ms)
{
    static const enum kind kinds[] = {PAIR, CLIENT, LOGIN};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        claim(t->failed, tag_of(t, kinds[i], client, login), now_ms, WINDOW_MS)->failures++;
    }
}

void throttle_succeeded(struct throttle *t, struct str client, struct str login, uint64_t now_ms)
{
    uint64_t tag = tag_of(t, PAIR, client, login);
    claim(t->known, tag, now_ms, KNOWN_MS)->until_ms = now_ms + KNOWN_MS;
}
