/*
 * The relay's jobs as the store knows them: taken on lease, started as limits allow, each recipient's result told and kept
 * until the store has committed it. Where an active job goes is in relay_job.c.
 *
 * When the store dies its leases end, and the next store gives the same recipients out again. What is on its way then is
 * finished, and its results wait: a new job for the same message and recipient gets them instead of a second delivery.
 */
#include "roles/relay_private.h"

#include "base/log.h"
#include "base/mem.h"

enum { JOB_MEMORY = 4 << 20, RECIPIENTS_MAX = 10000, RESULT_TEXT_MAX = 1000 };

/* Domains. */

static uint32_t hash_of(struct str name)
{
    uint32_t hash = 5381;
    for (size_t i = 0; i < name.len; i++) {
        hash = hash * 33 ^ (unsigned char)name.data[i];
    }
    return hash;
}

static struct relay_domain *domain_get(struct relay *relay, struct str name)
{
    uint32_t hash = hash_of(name);
    for (struct relay_domain *domain = relay->domains; domain != NULL; domain = domain->next) {
        if (domain->hash == hash && str_equal(domain->name, name)) {
            return domain;
        }
    }
    struct relay_domain *domain = mem_alloc(sizeof(*domain) + name.len);
    if (domain == NULL) {
        return NULL;
    }
    char *text = (char *)(domain + 1);
    memcpy(text, name.data, name.len);
    *domain = (struct relay_domain){.next = relay->domains, .hash = hash, .name = str_make(text, name.len)};
    domain->last = &domain->first;
    relay->domains = domain;
    return domain;
}

static void domain_add(struct relay_domain *domain, struct relay_job *job)
{
    job->next_waiting = NULL;
    *domain->last = job;
    domain->last = &job->next_waiting;
}

static void domain_remove(struct relay_domain *domain, struct relay_job *job)
{
    struct relay_job **link = &domain->first;
    while (*link != NULL && *link != job) {
        link = &(*link)->next_waiting;
    }
    if (*link == NULL) {
        return;
    }
    *link = job->next_waiting;
    if (domain->last == &job->next_waiting) {
        domain->last = link;
    }
}

static void drop_unused_domains(struct relay *relay)
{
    struct relay_domain **link = &relay->domains;
    while (*link != NULL) {
        struct relay_domain *domain = *link;
        if (domain->first == NULL && domain->active == 0) {
            *link = domain->next;
            mem_free(domain);
        } else {
            link = &domain->next;
        }
    }
}

void relay_jobs_schedule(struct relay *relay)
{
    const struct config_relay *limits = &relay->role->config->relay;
    bool started = true;
    /* One job a domain and round, so that a domain with many does not keep the others waiting. */
    while (started && !relay->role->draining) {
        started = false;
        for (struct relay_domain *domain = relay->domains; domain != NULL; domain = domain->next) {
            struct relay_job *job = domain->first;
            if (job == NULL || domain->active >= limits->connections_per_domain ||
                relay->active >= limits->connections) {
                continue;
            }
            domain_remove(domain, job);
            domain->active++;
            relay->active++;
            started = true;
            relay_job_start(job);
        }
    }
    drop_unused_domains(relay);
}

/* The job has left its line and its domain's active ones. */
static void make_inactive(struct relay_job *job)
{
    struct relay *relay = job->relay;
    loop_timer_stop(&job->timer);
    mem_free(job->way);
    job->way = NULL;
    if (job->domain != NULL) {
        job->domain->active--;
        job->domain = NULL;
        relay->active--;
        relay_schedule_soon(relay);
    }
}

/* Life. */

static struct relay_job *find_job(struct relay *relay, uint64_t id)
{
    struct relay_job *job = relay->jobs;
    while (job != NULL && (job->id != id || job->orphan)) {
        job = job->next;
    }
    return job;
}

void relay_job_free(struct relay_job *job)
{
    *job->link = job->next;
    if (job->next != NULL) {
        job->next->link = job->link;
    }
    job->relay->job_count--;
    loop_timer_stop(&job->timer);
    for (size_t i = 0; job->results != NULL && i < job->count; i++) {
        buf_free(&job->results[i].packet);
    }
    mem_free(job->way);
    config_unref(job->config);
    arena_free(&job->arena);
    mem_free(job);
}

/* Whether every text could be copied. */
static bool copy_texts(struct relay_job *job, const struct queue_job *message)
{
    struct arena *arena = &job->arena;
    job->message_id = arena_copy(arena, message->message_id);
    job->domain_name = arena_copy(arena, message->domain);
    job->body_grant = arena_copy(arena, message->body_grant);
    job->message = (struct smtp_client_message){.sender = arena_copy(arena, message->sender),
                                                .body = message->body > SMTP_CLIENT_BINARYMIME
                                                            ? SMTP_CLIENT_BINARYMIME
                                                            : (enum smtp_client_body)message->body,
                                                .smtputf8 = message->smtputf8 != 0,
                                                .ret = message->ret,
                                                .envid = arena_copy(arena, message->envid),
                                                .size = message->size};
    job->recipients = arena_alloc(arena, message->recipients * sizeof(*job->recipients));
    job->results = arena_alloc(arena, message->recipients * sizeof(*job->results));
    return job->message_id.data != NULL && job->domain_name.data != NULL && job->body_grant.data != NULL &&
           job->message.sender.data != NULL && job->message.envid.data != NULL && job->recipients != NULL &&
           job->results != NULL;
}

/* Gives recipients back that could not even be taken. */
static void refuse(struct relay *relay, uint64_t id, uint32_t recipients)
{
    log_warning("out of memory: a job of %u recipients goes back to the queue", recipients);
    for (uint32_t i = 0; i < recipients; i++) {
        struct queue_result result = {.job = id,
                                      .recipient = i,
                                      .outcome = OUTCOME_RELEASED,
                                      .enhanced = STR_EMPTY,
                                      .text = STR_EMPTY,
                                      .host = STR_EMPTY,
                                      .address = STR_EMPTY,
                                      .tls = STR_EMPTY};
        role_send(role_peer_of(relay->role, ROLE_STORE), &queue_result_type, &result);
    }
    relay_give_room(relay, 1);
}

void relay_job_take(struct relay *relay, const struct queue_job *message)
{
    struct relay_job *job =
        message->recipients == 0 || message->recipients > RECIPIENTS_MAX ? NULL : mem_new(struct relay_job);
    if (job == NULL) {
        refuse(relay, message->job, message->recipients);
        return;
    }
    job->relay = relay;
    job->id = message->job;
    job->attempt = message->attempt;
    job->config = config_ref(relay->role->config);
    job->arena = arena_make(JOB_MEMORY);
    job->next = relay->jobs;
    job->link = &relay->jobs;
    if (job->next != NULL) {
        job->next->link = &job->next;
    }
    relay->jobs = job;
    relay->job_count++;
    if (!copy_texts(job, message)) {
        job->results = NULL;
        relay_job_free(job);
        refuse(relay, message->job, message->recipients);
        return;
    }
    job->count = message->recipients;
    for (size_t i = 0; i < job->count; i++) {
        job->results[i].packet = buf_make(IPC_PACKET_MAX);
    }
    job->route = config_find_route(job->config, job->domain_name);
}

/* Results. */

static bool send_packet(struct relay_job *job, struct relay_result *result)
{
    struct queue_result message;
    if (!ipc_decode(&queue_result_type, buf_str(&result->packet), &message)) {
        return false;
    }
    message.job = job->id;
    message.recipient = (uint32_t)(result - job->results);
    result->sent = role_send(role_peer_of(job->relay->role, ROLE_STORE), &queue_result_type, &message);
    return result->sent;
}

static void orphan_expired(void *context)
{
    relay_job_free(context);
}

void relay_job_reported(struct relay_job *job)
{
    struct relay *relay = job->relay;
    job->state = JOB_REPORTED;
    make_inactive(job);
    if (job->orphan) {
        loop_timer_start(relay->role->loop, &job->timer, RELAY_ORPHAN_MS, false, orphan_expired, job);
    } else if (job->acknowledged) {
        relay_job_free(job);
        relay_give_room(relay, 1);
    }
    relay_check_drained(relay);
}

static void set_result(struct relay_job *job, size_t recipient, const struct queue_result *message)
{
    struct relay_result *result = &job->results[recipient];
    if (result->packet.len > 0) {
        return;
    }
    if (!ipc_encode(&queue_result_type, message, &result->packet)) {
        /* Without memory to keep it the result is sent all the same, once. */
        log_warning("out of memory: the result for a recipient of %.*s is not kept",
                    STR_ARGS(job->message_id));
        result->sent = role_send(role_peer_of(job->relay->role, ROLE_STORE), &queue_result_type, message);
    } else if (!job->orphan) {
        send_packet(job, result);
    }
    job->recipients[recipient].state = SMTP_CLIENT_DECIDED;
    job->decided++;
    if (job->decided == job->count && job->line == NULL) {
        relay_job_reported(job);
    }
}

static uint8_t outcome_number(enum smtp_client_outcome outcome)
{
    switch (outcome) {
    case SMTP_CLIENT_DELIVERED: return OUTCOME_DELIVERED;
    case SMTP_CLIENT_FAILED: return OUTCOME_FAILED;
    case SMTP_CLIENT_UNCERTAIN: return OUTCOME_UNCERTAIN;
    default: return OUTCOME_DEFERRED;
    }
}

void relay_job_decide(struct relay_job *job, size_t recipient, const struct smtp_client_result *result,
                      const struct relay_failure *at)
{
    char area[RESULT_TEXT_MAX + 16];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    buf_append_escaped(&text, result->text, RESULT_TEXT_MAX);
    struct queue_result message = {.job = job->id,
                                   .recipient = (uint32_t)recipient,
                                   .outcome = outcome_number(result->outcome),
                                   .stage = (uint8_t)result->stage,
                                   .dsn_passed = result->dsn_passed,
                                   .code = (uint16_t)result->code,
                                   .enhanced = str_sub(result->enhanced, 0, 16),
                                   .text = buf_str(&text),
                                   .host = at == NULL ? STR_EMPTY : str_of(at->host),
                                   .address = at == NULL ? STR_EMPTY : str_of(at->address),
                                   .tls = at == NULL ? STR_EMPTY : str_of(at->tls)};
    set_result(job, recipient, &message);
}

void relay_job_release(struct relay_job *job)
{
    struct queue_result message = {.job = job->id,
                                   .outcome = OUTCOME_RELEASED,
                                   .enhanced = STR_EMPTY,
                                   .text = STR_EMPTY,
                                   .host = STR_EMPTY,
                                   .address = STR_EMPTY,
                                   .tls = STR_EMPTY};
    for (size_t i = 0; i < job->count; i++) {
        message.recipient = (uint32_t)i;
        if (job->results[i].packet.len == 0) {
            set_result(job, i, &message);
        }
    }
}

void relay_jobs_resend(struct relay *relay)
{
    for (struct relay_job *job = relay->jobs; job != NULL; job = job->next) {
        for (size_t i = 0; !job->orphan && job->state != JOB_RECEIVING && i < job->count; i++) {
            struct relay_result *result = &job->results[i];
            if (result->packet.len > 0 && !result->sent && !send_packet(job, result)) {
                return;
            }
        }
    }
}

void relay_job_acknowledged(struct relay *relay, uint64_t id)
{
    struct relay_job *job = find_job(relay, id);
    if (job != NULL && job->state != JOB_REPORTED) {
        job->acknowledged = job->decided == job->count;
    } else if (job != NULL) {
        relay_job_free(job);
        relay_give_room(relay, 1);
        relay_check_drained(relay);
    }
}

/* A store that restarts. */

/* Takes a job that no server has begun to answer for off its line or out of its list. */
static void stop_job(struct relay_job *job)
{
    if (job->line != NULL) {
        struct relay_line *line = job->line;
        job->line = NULL;
        relay_line_drop(line);
    }
    if (job->state == JOB_WAITING) {
        domain_remove(job->domain, job);
        job->domain = NULL;
    }
    make_inactive(job);
}

/* What its store was told may have died with it: all of it waits for the next one. */
static void make_orphan(struct relay_job *job)
{
    job->orphan = true;
    job->told = false;
    for (size_t i = 0; i < job->count; i++) {
        job->results[i].sent = false;
    }
}

void relay_jobs_store_down(struct relay *relay)
{
    struct relay_job *next;
    for (struct relay_job *job = relay->jobs; job != NULL; job = next) {
        next = job->next;
        if (job->orphan) {
            job->told = false;
            continue;
        }
        bool committed = job->line != NULL && relay_line_committed(job->line);
        bool has_results = job->decided > 0;
        if (committed || has_results) {
            make_orphan(job); /* finished where it is under way; kept where there is something to tell */
        }
        if (!committed) {
            stop_job(job);
        }
        if (!job->orphan) {
            relay_job_free(job);
        } else if (!committed) {
            relay_job_reported(job);
        }
    }
}

bool relay_jobs_tell_held(struct relay *relay)
{
    for (struct relay_job *job = relay->jobs; job != NULL; job = job->next) {
        if (job->orphan && !job->told) {
            struct queue_held held = {.message_id = job->message_id, .domain = job->domain_name};
            job->told = role_send(role_peer_of(relay->role, ROLE_STORE), &queue_held_type, &held);
            if (!job->told) {
                return false;
            }
        }
    }
    return true;
}

void relay_jobs_drain(struct relay *relay)
{
    struct relay_job *next;
    for (struct relay_job *job = relay->jobs; job != NULL; job = next) {
        next = job->next;
        bool committed = job->line != NULL && relay_line_committed(job->line);
        if (!committed && !job->orphan && job->state != JOB_REPORTED && job->state != JOB_RECEIVING) {
            stop_job(job);
            relay_job_release(job);
        }
    }
}

/* Whether an orphan has this message for this recipient; its number in `at`. */
static bool orphan_has(const struct relay_job *orphan, const struct relay_job *job, size_t recipient,
                       size_t *at)
{
    if (!orphan->orphan || !str_equal(orphan->message_id, job->message_id)) {
        return false;
    }
    for (*at = 0; *at < orphan->count; (*at)++) {
        if (str_equal(orphan->recipients[*at].address, job->recipients[recipient].address)) {
            return true;
        }
    }
    return false;
}

/* A failure that made the store count the attempt was committed, though the relay never heard so: now it is tried anew. */
static bool is_known(const struct queue_result *result, const struct relay_job *orphan,
                     const struct relay_job *job)
{
    return (result->outcome == OUTCOME_DEFERRED || result->outcome == OUTCOME_UNCERTAIN) &&
           job->attempt > orphan->attempt;
}

/* Takes over what an orphan knows of this recipient, once; true if it is still under way there. */
static bool adopt_result(struct relay_job *job, size_t recipient, struct relay_job *orphan, size_t at)
{
    struct queue_result message;
    struct relay_result *result = &orphan->results[at];
    if (result->packet.len == 0) {
        return orphan->line != NULL;
    }
    if (!result->sent && ipc_decode(&queue_result_type, buf_str(&result->packet), &message) &&
        message.outcome != OUTCOME_RELEASED && !is_known(&message, orphan, job)) {
        message.job = job->id;
        message.recipient = (uint32_t)recipient;
        set_result(job, recipient, &message);
    }
    result->sent = true;
    return false;
}

static bool is_used_up(const struct relay_job *orphan)
{
    for (size_t i = 0; i < orphan->count; i++) {
        if (!orphan->results[i].sent) {
            return false;
        }
    }
    return orphan->line == NULL && orphan->state == JOB_REPORTED;
}

/* Results that orphans have for a new job; true if one of them is still under way with a recipient of it. */
static bool adopt_results(struct relay_job *job)
{
    bool under_way = false;
    struct relay_job *next;
    for (struct relay_job *orphan = job->relay->jobs; orphan != NULL; orphan = next) {
        bool used = false;
        next = orphan->next;
        for (size_t i = 0; orphan->orphan && i < job->count; i++) {
            size_t at = 0;
            if (job->results[i].packet.len == 0 && orphan_has(orphan, job, i, &at)) {
                used = true;
                under_way = adopt_result(job, i, orphan, at) || under_way;
            }
        }
        if (used && is_used_up(orphan)) {
            relay_job_free(orphan);
        }
    }
    return under_way;
}

static void wait_for_turn(struct relay_job *job)
{
    if (job->decided == job->count) {
        return; /* told from an earlier delivery */
    }
    struct str key = job->route == NULL ? job->domain_name : job->route->domain;
    job->domain = domain_get(job->relay, key);
    if (job->domain == NULL || job->relay->role->draining) {
        job->domain = NULL;
        relay_job_release(job);
        return;
    }
    job->state = JOB_WAITING;
    domain_add(job->domain, job);
    relay_schedule_soon(job->relay);
}

/* A job held back by an orphan looks again a moment later. */
static void look_again(void *context)
{
    struct relay_job *job = context;
    if (adopt_results(job)) {
        loop_timer_start(job->relay->role->loop, &job->timer, 200, false, look_again, job);
    } else {
        wait_for_turn(job);
    }
}

void relay_job_take_recipient(struct relay *relay, const struct queue_recipient *message)
{
    struct relay_job *job = find_job(relay, message->job);
    if (job == NULL || job->state != JOB_RECEIVING || message->recipient != job->received ||
        job->received >= job->count) {
        return;
    }
    struct smtp_client_recipient *recipient = &job->recipients[job->received++];
    recipient->address = arena_copy(&job->arena, message->address);
    recipient->orcpt = arena_copy(&job->arena, message->orcpt);
    recipient->notify = message->notify;
    if (recipient->address.data == NULL || recipient->orcpt.data == NULL) {
        recipient->address = STR_EMPTY;
        recipient->orcpt = STR_EMPTY;
        struct queue_result released = {.job = job->id,
                                        .recipient = message->recipient,
                                        .outcome = OUTCOME_RELEASED,
                                        .enhanced = STR_EMPTY,
                                        .text = STR_EMPTY,
                                        .host = STR_EMPTY,
                                        .address = STR_EMPTY,
                                        .tls = STR_EMPTY};
        set_result(job, message->recipient, &released);
    }
    if (job->received == job->count) {
        look_again(job);
    }
}
