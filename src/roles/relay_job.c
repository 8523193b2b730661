/*
 * Where an active job goes: MX, hosts, addresses, one after the other until a server has decided on every recipient or none is
 * left (RFC 5321, section 5.1). Each step is one question to another role or one line; the answer leads to the next step.
 */
#include "roles/relay_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"

static void next_host(struct relay_job *job);
static void next_address(struct relay_job *job);

enum route_tls relay_job_policy(const struct relay_job *job)
{
    return job->route != NULL ? job->route->tls : job->config->relay.tls;
}

static unsigned port_of(const struct relay_job *job)
{
    return job->route != NULL ? job->route->port : job->config->relay.port;
}

static uint8_t families_of(const struct relay_job *job)
{
    uint8_t families = (uint8_t)((job->config->relay.ipv4 ? 1 : 0) | (job->config->relay.ipv6 ? 2 : 0));
    return families == 0 ? 3 : families;
}

/* What our own finding says. */
static struct smtp_client_result own_result(enum smtp_client_outcome outcome, enum smtp_client_stage stage,
                                            const char *enhanced, struct str text)
{
    return (struct smtp_client_result){
        .outcome = outcome, .stage = stage, .enhanced = str_of(enhanced), .text = text};
}

/*
 * A refused login is a fault of this server's configuration, not of the sender, whatever the code would say to a mail program:
 * the mail waits until it is mended.
 */
static struct smtp_client_result refused_login(const struct smtp_client_result *refusal, struct buf *text)
{
    buf_printf(text, "The server of the route refuses this server's login: %u ", refusal->code);
    buf_append_str(text, refusal->enhanced);
    buf_append_str(text, refusal->enhanced.len > 0 ? STR(" ") : STR_EMPTY);
    buf_append_str(text, str_sub(refusal->text, 0, text->limit - text->len));
    return own_result(SMTP_CLIENT_DEFERRED, SMTP_STAGE_AUTH, "4.3.5", buf_str(text));
}

/*
 * Keeps why a host did not work. Temporary goes before permanent: as long as one host may take the message later, it is not
 * given up.
 */
static void note_failure(struct relay_job *job, const struct smtp_client_result *result,
                         const struct relay_line *line)
{
    struct relay_failure *failure = &job->way->failure;
    if (failure->set && failure->outcome == SMTP_CLIENT_DEFERRED && result->outcome != SMTP_CLIENT_DEFERRED) {
        return;
    }
    *failure = (struct relay_failure){
        .set = true, .outcome = result->outcome, .stage = result->stage, .code = result->code};
    struct str enhanced = str_sub(result->enhanced, 0, sizeof(failure->enhanced) - 1);
    memcpy(failure->enhanced, enhanced.data, enhanced.len);
    struct str text = str_sub(result->text, 0, sizeof(failure->text));
    memcpy(failure->text, text.data, text.len);
    failure->text_len = text.len;
    if (line != NULL) {
        relay_line_describe(line, failure);
    }
}

/* Nothing is left to try: all recipients that are not decided get the failure. */
static void finish(struct relay_job *job)
{
    struct relay_failure failure = job->way->failure;
    struct smtp_client_result result = own_result(failure.outcome, failure.stage, failure.enhanced,
                                                  str_make(failure.text, failure.text_len));
    result.code = failure.code;
    if (!failure.set) {
        result = own_result(SMTP_CLIENT_DEFERRED, SMTP_STAGE_CONNECT, "4.4.1",
                            STR("No server for the domain could be reached"));
    }
    for (size_t i = 0; i < job->count; i++) {
        if (job->recipients[i].state != SMTP_CLIENT_DECIDED) {
            relay_job_decide(job, i, &result, &failure);
        }
    }
}

/* Our finding, with the cause that the resolver told, if there is one. */
static void note_reason(struct relay_job *job, enum plan_verdict verdict, const struct plan_reason *reason,
                        struct str cause)
{
    char area[512];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    buf_append_str(&text, str_of(reason->text));
    if (cause.len > 0) {
        buf_append_lit(&text, " (");
        buf_append_str(&text, cause);
        buf_append_char(&text, ')');
    }
    struct smtp_client_result result =
        own_result(verdict == PLAN_FAILED ? SMTP_CLIENT_FAILED : SMTP_CLIENT_DEFERRED, SMTP_STAGE_RESOLVE,
                   reason->enhanced, buf_str(&text));
    note_failure(job, &result, NULL);
}

/* Questions to other roles. */

static void no_answer(void *context)
{
    struct relay_job *job = context;
    if (job->state == JOB_CHECK) {
        job->way->checked++;
        next_host(job);
        return;
    }
    bool secret = job->state == JOB_SECRET;
    struct smtp_client_result result = secret ? own_result(SMTP_CLIENT_DEFERRED, SMTP_STAGE_AUTH, "4.3.0",
                                                           STR("The password of the route cannot be had now"))
                                              : own_result(SMTP_CLIENT_DEFERRED, SMTP_STAGE_RESOLVE, "4.4.3",
                                                           STR("The DNS was not answered in time"));
    note_failure(job, &result, NULL);
    if (job->state == JOB_HOST) {
        job->host_at++;
        next_host(job);
    } else {
        finish(job);
    }
}

static void ask(struct relay_job *job)
{
    struct role *role = job->relay->role;
    if (job->state == JOB_MX) {
        struct resolve_mx question = {.ticket = job->ticket, .domain = job->domain_name};
        role_send(role_peer_of(role, ROLE_RESOLVER), &resolve_mx_type, &question);
    } else if (job->state == JOB_HOST || job->state == JOB_CHECK) {
        size_t at = job->state == JOB_HOST ? job->host_at : job->way->checked;
        const struct plan_host *host = &job->way->plan.hosts[at];
        struct resolve_host question = {.ticket = job->ticket,
                                        .host = str_make(host->name, host->name_len),
                                        .families = families_of(job)};
        role_send(role_peer_of(role, ROLE_RESOLVER), &resolve_host_type, &question);
    } else if (job->state == JOB_SECRET) {
        struct route_secret_query question = {.ticket = job->ticket, .route = job->route->domain};
        role_send(role_peer_of(role, ROLE_KEYS), &route_secret_query_type, &question);
    }
}

static void ask_in(struct relay_job *job, enum relay_job_state state)
{
    job->state = state;
    job->ticket = ++job->relay->next_ticket;
    loop_timer_start(job->relay->role->loop, &job->timer, RELAY_LOOKUP_MS, false, no_answer, job);
    ask(job);
}

void relay_jobs_ask_again(struct relay *relay, enum role_kind kind)
{
    for (struct relay_job *job = relay->jobs; job != NULL; job = job->next) {
        bool resolver = job->state == JOB_MX || job->state == JOB_CHECK || job->state == JOB_HOST;
        if ((kind == ROLE_RESOLVER && resolver) || (kind == ROLE_KEYS && job->state == JOB_SECRET)) {
            ask(job);
        }
    }
}

/* The job that waits with this ticket in this state, or NULL. */
static struct relay_job *waiting(struct relay *relay, enum relay_job_state state, uint64_t ticket)
{
    for (struct relay_job *job = relay->jobs; job != NULL; job = job->next) {
        if (job->state == state && job->ticket == ticket) {
            loop_timer_stop(&job->timer);
            return job;
        }
    }
    return NULL;
}

/* Steps. */

/* Among equal hosts one that has an open line goes first: the order was by chance anyway. */
static void prefer_open_lines(struct relay_job *job)
{
    struct plan *plan = &job->way->plan;
    for (size_t i = 0; i < plan->count && plan->hosts[i].preference == plan->hosts[0].preference; i++) {
        if (relay_line_waits_for(job, &plan->hosts[i], port_of(job))) {
            struct plan_host host = plan->hosts[i];
            plan->hosts[i] = plan->hosts[0];
            plan->hosts[0] = host;
            return;
        }
    }
}

static void plan_made(struct relay_job *job, struct str cause)
{
    struct plan *plan = &job->way->plan;
    if (plan->verdict != PLAN_READY) {
        note_reason(job, plan->verdict, &plan->reason, cause);
        finish(job);
        return;
    }
    prefer_open_lines(job);
    job->host_at = 0;
    next_host(job);
}

static void make_plan(struct relay_job *job)
{
    struct plan *plan = &job->way->plan;
    if (job->route != NULL) {
        plan_from_route(job->route, plan);
    } else if (job->domain_name.len > 0 && job->domain_name.data[0] == '[') {
        plan_from_literal(job->domain_name, &job->relay->self, port_of(job), plan);
    } else {
        ask_in(job, JOB_MX);
        return;
    }
    plan_made(job, STR_EMPTY);
}

void relay_job_start(struct relay_job *job)
{
    job->way = mem_new(struct relay_way);
    job->attempts = 0;
    if (job->way == NULL) {
        relay_job_release(job);
        return;
    }
    if (job->route != NULL && job->route->login.len > 0) {
        ask_in(job, JOB_SECRET);
    } else {
        make_plan(job);
    }
}

void relay_job_secret_answer(struct relay *relay, const struct route_secret_answer *answer)
{
    struct relay_job *job = waiting(relay, JOB_SECRET, answer->ticket);
    if (job == NULL) {
        return;
    }
    job->password = answer->found != 0 ? arena_copy(&job->arena, answer->password) : STR_EMPTY;
    if (answer->found == 0 || job->password.data == NULL) {
        no_answer(job);
        return;
    }
    make_plan(job);
}

void relay_job_mx_answer(struct relay *relay, const struct resolve_mx_answer *answer)
{
    struct relay_job *job = waiting(relay, JOB_MX, answer->ticket);
    if (job != NULL) {
        plan_from_mx(answer, job->domain_name, &relay->self, port_of(job), random_u64(), &job->way->plan);
        plan_made(job, answer->cause);
    }
}

/* This host is ourselves: it, its equals and all behind are no way (RFC 5321, section 5.1). */
static void host_is_self(struct relay_job *job, size_t at)
{
    struct plan *plan = &job->way->plan;
    plan_cut_self(plan, at);
    if (plan->verdict != PLAN_READY && !job->way->failure.set) {
        note_reason(job, plan->verdict, &plan->reason, STR_EMPTY);
    }
    finish(job); /* the better ones have been tried before this one */
}

static void addresses_known(struct relay_job *job)
{
    job->address_at = 0;
    job->without_tls = false;
    next_address(job);
}

void relay_job_host_answer(struct relay *relay, const struct resolve_host_answer *answer)
{
    struct relay_job *job = waiting(relay, JOB_HOST, answer->ticket);
    bool check = job == NULL;
    job = check ? waiting(relay, JOB_CHECK, answer->ticket) : job;
    if (job == NULL) {
        return;
    }
    struct plan_addresses *addresses = &job->way->addresses;
    const struct plan_self *self = job->route == NULL ? &relay->self : NULL;
    plan_addresses_from(answer, job->way->plan.implicit, self, port_of(job), random_u64(), addresses);
    if (addresses->self) {
        host_is_self(job, check ? job->way->checked : job->host_at);
        return;
    }
    if (check) {
        job->way->checked++;
        next_host(job);
        return;
    }
    if (addresses->verdict != PLAN_READY) {
        note_reason(job, addresses->verdict, &addresses->reason, answer->cause);
        job->host_at++;
        next_host(job);
        return;
    }
    addresses_known(job);
}

/*
 * Whether the addresses of a host with the preference of the next one are still to be looked at: if one of them is ours, none
 * of them is a way, whichever comes first by chance. A host that is alone is looked at when its turn comes.
 */
static bool equals_are_unchecked(struct relay_job *job)
{
    const struct plan *plan = &job->way->plan;
    size_t *checked = &job->way->checked;
    bool alone = job->host_at + 1 >= plan->count ||
                 plan->hosts[job->host_at + 1].preference != plan->hosts[job->host_at].preference;
    if (*checked <= job->host_at && (alone || job->route != NULL)) {
        *checked = job->host_at + 1;
    }
    return *checked < plan->count && plan->hosts[*checked].preference == plan->hosts[job->host_at].preference;
}

static void next_host(struct relay_job *job)
{
    struct plan *plan = &job->way->plan;
    if (job->host_at >= plan->count || job->attempts >= RELAY_ATTEMPTS_MAX) {
        finish(job);
        return;
    }
    if (equals_are_unchecked(job)) {
        ask_in(job, JOB_CHECK);
        return;
    }
    const struct plan_host *host = &plan->hosts[job->host_at];
    if (host->literal) {
        job->way->addresses =
            (struct plan_addresses){.verdict = PLAN_READY, .count = 1, .list = {host->address}};
        addresses_known(job);
        return;
    }
    ask_in(job, JOB_HOST);
}

static void open_line(struct relay_job *job, bool fresh)
{
    const struct plan_host *host = &job->way->plan.hosts[job->host_at];
    const struct plan_address *address = &job->way->addresses.list[job->address_at];
    job->state = JOB_ON_LINE;
    struct relay_line *line =
        fresh || job->without_tls ? NULL : relay_line_find(job, host, address, port_of(job));
    if (line != NULL) {
        relay_line_reuse(line);
        return;
    }
    job->attempts++;
    if (!relay_line_open(job, host, address, port_of(job))) {
        relay_job_release(job);
    }
}

static void next_address(struct relay_job *job)
{
    if (job->address_at >= job->way->addresses.count || job->attempts >= RELAY_ATTEMPTS_MAX) {
        job->host_at++;
        next_host(job);
        return;
    }
    open_line(job, false);
}

/* Lines. */

static bool all_decided(struct relay_job *job)
{
    if (job->decided < job->count) {
        return false;
    }
    relay_job_reported(job);
    return true;
}

void relay_job_line_failed(struct relay_job *job, struct relay_line *line)
{
    char area[sizeof(job->way->failure.text)];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    struct smtp_client_result login;
    const struct smtp_client_result *failure = &line->client.failure;
    if (failure->stage == SMTP_STAGE_AUTH && failure->code / 100 == 5) {
        login = refused_login(failure, &text);
        failure = &login;
    }
    if (all_decided(job)) {
        return;
    }
    if (job->relay->role->draining || job->orphan) {
        relay_job_release(job);
        return;
    }
    /* An idle connection that the server has closed meanwhile says nothing about the server. */
    if (line->reused && (failure->stage == SMTP_STAGE_MAIL || failure->stage == SMTP_STAGE_RESET)) {
        open_line(job, true);
        return;
    }
    if (job->without_tls && line->settings.tls == SMTP_CLIENT_TLS_OPPORTUNISTIC &&
        job->attempts < RELAY_ATTEMPTS_MAX) {
        log_debug("TLS with %s failed: trying once more in clear", line->host);
        open_line(job, true);
        return;
    }
    note_failure(job, failure, line);
    job->without_tls = false;
    if (failure->code == 0 && str_equal(failure->enhanced, STR("5.4.6"))) {
        host_is_self(job, job->host_at);
        return;
    }
    job->address_at++;
    next_address(job);
}

void relay_job_line_done(struct relay_job *job, struct relay_line *line)
{
    (void)line;
    if (all_decided(job)) {
        return;
    }
    if (job->relay->role->draining || job->orphan) {
        relay_job_release(job);
        return;
    }
    open_line(job, true); /* the rest of the recipients, on a new connection to the same address */
}
