/*
 * Passwords in keys: verified and made in a few threads, because one check takes tens of milliseconds by design. Guessing is
 * slowed down before anything is hashed (throttle.h), and what is suspect waits behind all others and never has all threads, so
 * that a good login takes about as long as ever. Unknown logins take as long as known ones.
 */
#include "roles/keys_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <sodium.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { THREADS = 2, REMEMBER_MS = 60000, STORE_WAIT_MS = 10000, SWEEP_MS = 1000 };

/* Jobs under way; beyond it clients are told to try again. Where more is known there is room when less is known has none. */
static const size_t jobs_max[LEVELS] = {[LEVEL_KNOWN] = 256, [LEVEL_NEW] = 128, [LEVEL_SUSPECT] = 64};

enum job_kind { JOB_VERIFY, JOB_MAKE };

/* One password on its way through a thread. */
struct job {
    struct job *next;
    enum job_kind kind;
    enum job_level level;
    enum role_kind peer_kind;
    uint32_t peer_instance;
    uint64_t ticket;       /* the asker's */
    uint64_t store_ticket; /* ours, towards the store */
    uint64_t since_ms;     /* when it was asked */
    uint64_t account;
    bool any_password;
    bool disabled;
    bool right;
    struct buf login;  /* as the client gave it; canonical once the store has answered */
    struct buf asked;  /* as the client gave it */
    struct buf client; /* its address */
    struct buf password;
    struct buf verifier;
};

/* The threads. */

static void work_on(const struct keys *k, struct job *job)
{
    if (job->kind == JOB_MAKE) {
        job->right = password_make(buf_str(&job->password), k->pepper, &job->verifier);
    } else {
        job->right = password_verify(buf_str(&job->password), buf_str(&job->verifier), k->pepper);
    }
}

/* The next job, or NULL if none may be worked on now; one thread at least has no time for suspects. Under the mutex. */
static struct job *next_job(struct passwords *p)
{
    for (int level = 0; level < LEVELS; level++) {
        struct job *job = p->todo[level];
        if (job != NULL && (level != LEVEL_SUSPECT || p->suspects < THREADS - 1)) {
            p->todo[level] = job->next;
            p->suspects += level == LEVEL_SUSPECT;
            return job;
        }
    }
    return NULL;
}

static void *thread_main(void *context)
{
    struct keys *k = context;
    struct passwords *p = &k->passwords;
    for (;;) {
        struct job *job;
        pthread_mutex_lock(&p->mutex);
        while ((job = next_job(p)) == NULL) {
            pthread_cond_wait(&p->work, &p->mutex);
        }
        pthread_mutex_unlock(&p->mutex);
        work_on(k, job);
        pthread_mutex_lock(&p->mutex);
        p->suspects -= job->level == LEVEL_SUSPECT;
        job->next = p->finished;
        p->finished = job;
        pthread_cond_signal(&p->work); /* a suspect may have waited for this one's end */
        pthread_mutex_unlock(&p->mutex);
        uint64_t one = 1;
        if (write(p->event_fd, &one, sizeof(one)) != (ssize_t)sizeof(one)) {
            log_error("a password thread cannot wake the loop");
        }
    }
    return NULL;
}

static void give_to_thread(struct passwords *p, struct job *job)
{
    pthread_mutex_lock(&p->mutex);
    struct job **last = &p->todo[job->level];
    while (*last != NULL) {
        last = &(*last)->next;
    }
    job->next = NULL;
    *last = job;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->mutex);
}

static struct job *job_new(struct passwords *p, enum job_kind kind, enum job_level level,
                           struct role_peer *peer, uint64_t ticket)
{
    struct job *job = p->counts[level] < jobs_max[level] ? mem_new(struct job) : NULL;
    if (job != NULL) {
        p->counts[level]++;
        job->kind = kind;
        job->level = level;
        job->peer_kind = peer->kind;
        job->peer_instance = peer->instance;
        job->ticket = ticket;
        job->login = buf_make(512);
        job->asked = buf_make(512);
        job->client = buf_make(64);
        job->password = buf_make(1024);
        job->verifier = buf_make(512);
    }
    return job;
}

static void job_free(struct passwords *p, struct job *job)
{
    buf_free(&job->login);
    buf_free(&job->asked);
    buf_free(&job->client);
    buf_wipe(&job->password);
    buf_wipe(&job->verifier);
    p->counts[job->level]--;
    mem_free(job);
}

/* Remembered passwords. */

static void remember_hash(struct passwords *p, const struct job *job, unsigned char hash[16])
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, p->memory_key, sizeof(p->memory_key), 16);
    crypto_generichash_update(&state, (const unsigned char *)&job->account, sizeof(job->account));
    crypto_generichash_update(&state, (const unsigned char *)job->verifier.data, job->verifier.len);
    crypto_generichash_update(&state, (const unsigned char *)job->password.data, job->password.len);
    crypto_generichash_final(&state, hash, 16);
}

static struct remembered *remembered_slot(struct passwords *p, uint64_t account)
{
    return &p->remembered[account % REMEMBERED];
}

static bool is_remembered(struct passwords *p, const struct job *job, uint64_t now_ms)
{
    unsigned char hash[16];
    const struct remembered *slot = remembered_slot(p, job->account);
    remember_hash(p, job, hash);
    return slot->account == job->account && slot->until_ms > now_ms &&
           sodium_memcmp(slot->hash, hash, sizeof(hash)) == 0;
}

static void remember(struct passwords *p, const struct job *job, uint64_t now_ms)
{
    struct remembered *slot = remembered_slot(p, job->account);
    slot->account = job->account;
    slot->until_ms = now_ms + REMEMBER_MS;
    remember_hash(p, job, slot->hash);
}

void passwords_forget(struct keys *k, uint64_t account)
{
    struct passwords *p = &k->passwords;
    if (account == 0) {
        memset(p->remembered, 0, sizeof(p->remembered));
    } else {
        memset(remembered_slot(p, account), 0, sizeof(struct remembered));
    }
}

/* Answers. */

static void answer_verify(struct keys *k, const struct job *job, enum auth_verdict verdict)
{
    unsigned char grant[GRANT_SIZE];
    struct auth_answer answer = {
        .ticket = job->ticket, .verdict = (uint8_t)verdict, .login = STR_EMPTY, .grant = STR_EMPTY};
    if (verdict == AUTH_GOOD) {
        struct grant content = {.account = job->account,
                                .issued_ms = clock_wall_ms(),
                                .instance = job->peer_instance,
                                .kind = job->peer_kind,
                                .boot = role_boot(k->role)};
        grant_make(&content, k->grant_key, grant);
        answer.login = buf_str(&job->login);
        answer.grant = str_make(grant, sizeof(grant));
    }
    role_send(role_peer_find(k->role, job->peer_kind, job->peer_instance), &auth_answer_type, &answer);
}

static void finish_verify(struct keys *k, struct job *job)
{
    struct passwords *p = &k->passwords;
    uint64_t now = loop_now(k->role->loop);
    if (!job->right && !job->any_password) {
        throttle_failed(p->throttle, buf_str(&job->client), buf_str(&job->asked), now);
        answer_verify(k, job, AUTH_BAD);
    } else if (job->disabled) {
        answer_verify(k, job, AUTH_DISABLED);
    } else {
        if (!job->any_password) {
            remember(p, job, now);
            throttle_succeeded(p->throttle, buf_str(&job->client), buf_str(&job->asked), now);
        }
        answer_verify(k, job, AUTH_GOOD);
    }
    job_free(p, job);
}

static void finish_make(struct keys *k, struct job *job)
{
    struct credential_made made = {
        .ticket = job->ticket, .made = job->right, .verifier = buf_str(&job->verifier)};
    role_send(role_peer_find(k->role, job->peer_kind, job->peer_instance), &credential_made_type, &made);
    job_free(&k->passwords, job);
}

static void collect_finished(void *context, unsigned what)
{
    (void)what;
    struct keys *k = context;
    uint64_t count;
    if (read(k->passwords.event_fd, &count, sizeof(count)) != (ssize_t)sizeof(count)) {
        return;
    }
    pthread_mutex_lock(&k->passwords.mutex);
    struct job *list = k->passwords.finished;
    k->passwords.finished = NULL;
    pthread_mutex_unlock(&k->passwords.mutex);
    while (list != NULL) {
        struct job *job = list;
        list = job->next;
        if (job->kind == JOB_MAKE) {
            finish_make(k, job);
        } else {
            finish_verify(k, job);
        }
    }
}

/* Questions. */

/* Without a store the job waits for the next one. */
static void ask_store(struct keys *k, const struct job *job)
{
    struct credential_query query = {.ticket = job->store_ticket, .login = buf_str(&job->asked)};
    role_send(role_peer_of(k->role, ROLE_STORE), &credential_query_type, &query);
}

void passwords_ask_again(struct keys *k)
{
    for (const struct job *job = k->passwords.waiting; job != NULL; job = job->next) {
        ask_store(k, job);
    }
}

/* NULL if there is no room. */
static struct job *verify_job(struct passwords *p, struct role_peer *peer, const struct auth_verify *ask,
                              enum job_level level)
{
    struct job *job = job_new(p, JOB_VERIFY, level, peer, ask->ticket);
    if (job != NULL &&
        (!buf_append_str(&job->login, ask->authentication_id) ||
         !buf_append_str(&job->asked, ask->authentication_id) || !buf_append_str(&job->client, ask->client) ||
         !buf_append_str(&job->password, ask->password))) {
        job_free(p, job);
        return NULL;
    }
    return job;
}

void passwords_verify(struct keys *k, struct role_peer *peer, const struct auth_verify *ask)
{
    static const enum job_level levels[] = {
        [THROTTLE_KNOWN] = LEVEL_KNOWN, [THROTTLE_NEW] = LEVEL_NEW, [THROTTLE_SUSPECT] = LEVEL_SUSPECT};
    struct passwords *p = &k->passwords;
    struct auth_answer refusal = {
        .ticket = ask->ticket, .verdict = AUTH_TEMPORARY, .login = STR_EMPTY, .grant = STR_EMPTY};
    enum throttle_verdict verdict =
        throttle_ask(p->throttle, ask->client, ask->authentication_id, loop_now(k->role->loop));
    if (verdict == THROTTLE_REFUSE) {
        refusal.verdict = AUTH_THROTTLED;
        role_send(peer, &auth_answer_type, &refusal);
        return;
    }
    /* Only an administrator could act for another account, and there is none yet: both names must be the same. */
    if (ask->authorization_id.len > 0 && !str_equal_nocase(ask->authorization_id, ask->authentication_id)) {
        refusal.verdict = AUTH_BAD;
        role_send(peer, &auth_answer_type, &refusal);
        return;
    }
    struct job *job = verify_job(p, peer, ask, levels[verdict]);
    if (job == NULL) {
        role_send(peer, &auth_answer_type, &refusal);
        return;
    }
    job->store_ticket = ++p->next_ticket;
    job->since_ms = loop_now(k->role->loop);
    job->next = p->waiting;
    p->waiting = job;
    ask_store(k, job);
}

static struct job *take_waiting(struct passwords *p, uint64_t store_ticket)
{
    for (struct job **link = &p->waiting; *link != NULL; link = &(*link)->next) {
        if ((*link)->store_ticket == store_ticket) {
            struct job *job = *link;
            *link = job->next;
            return job;
        }
    }
    return NULL;
}

void passwords_credential(struct keys *k, const struct credential_answer *answer)
{
    struct passwords *p = &k->passwords;
    struct job *job = take_waiting(p, answer->ticket);
    if (job == NULL) {
        return;
    }
    if (answer->state == CREDENTIAL_UNAVAILABLE) {
        answer_verify(k, job, AUTH_TEMPORARY);
        job_free(p, job);
        return;
    }
    job->account = answer->account;
    job->disabled = answer->state == CREDENTIAL_DISABLED;
    job->any_password = answer->state == CREDENTIAL_ANY_PASSWORD;
    if (answer->state != CREDENTIAL_UNKNOWN) {
        buf_clear(&job->login);
        buf_append_str(&job->login, answer->login);
        buf_append_str(&job->verifier, answer->verifier);
    }
    if (job->any_password) {
        finish_verify(k, job);
        return;
    }
    /* Looked for with every login, found or not, that both take the same time (goal G21). */
    bool seen = is_remembered(p, job, loop_now(k->role->loop));
    if (seen && answer->state == CREDENTIAL_FOUND) {
        throttle_succeeded(p->throttle, buf_str(&job->client), buf_str(&job->asked), loop_now(k->role->loop));
        answer_verify(k, job, AUTH_GOOD);
        job_free(p, job);
        return;
    }
    /* Unknown logins are checked against a verifier that nothing matches. */
    give_to_thread(p, job);
}

void passwords_make(struct keys *k, struct role_peer *peer, const struct credential_make *ask)
{
    struct passwords *p = &k->passwords;
    struct job *job = job_new(p, JOB_MAKE, LEVEL_KNOWN, peer, ask->ticket);
    if (job == NULL || !buf_append_str(&job->password, ask->password)) {
        struct credential_made made = {.ticket = ask->ticket, .made = 0, .verifier = STR_EMPTY};
        role_send(peer, &credential_made_type, &made);
        if (job != NULL) {
            job_free(p, job);
        }
        return;
    }
    give_to_thread(p, job);
}

/* A store that is gone comes again soon, or else whoever waits is told to try again. */
static void sweep(void *context)
{
    struct keys *k = context;
    struct passwords *p = &k->passwords;
    uint64_t now = loop_now(k->role->loop);
    for (struct job **link = &p->waiting; *link != NULL;) {
        struct job *job = *link;
        if (now < job->since_ms + STORE_WAIT_MS) {
            link = &job->next;
            continue;
        }
        *link = job->next;
        answer_verify(k, job, AUTH_TEMPORARY);
        job_free(p, job);
    }
}

/* Life. */

bool passwords_prepare(struct keys *k)
{
    struct passwords *p = &k->passwords;
    unsigned char throttle_key[THROTTLE_KEY_SIZE];
    if (!password_setup()) {
        return false;
    }
    randombytes_buf(p->memory_key, sizeof(p->memory_key));
    randombytes_buf(throttle_key, sizeof(throttle_key));
    p->throttle = throttle_new(throttle_key);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->work, NULL);
    p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return p->throttle != NULL && p->event_fd >= 0 &&
           loop_watch(k->role->loop, &p->watch, p->event_fd, LOOP_READ, collect_finished, k) == 0;
}

bool passwords_start(struct keys *k)
{
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, thread_main, k) != 0) {
            log_error("a password thread cannot be started");
            return false;
        }
        pthread_detach(thread);
    }
    return loop_timer_start(k->role->loop, &k->passwords.sweep, SWEEP_MS, true, sweep, k) == 0;
}
