/*
 * The story of one seed: letters, faults and commands of a day, then quiet until the queue is empty; and what must hold.
 * Whatever happens, a recipient gets the message or its sender one bounce, and every copy beyond the first is explained by a
 * connection that was lost behind the final dot, or by a relay that was killed before it could tell. See sim.h.
 */
#include "sim_story.h"

#include "base/buf.h"
#include "message/dsn.h"
#include "roles/store_admin_private.h"
#include "store/account.h"
#include "store/entry.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Setting up. */

static void make_domains(uint64_t seed)
{
    struct sim_domain *home = sim_domain_add("home.example");
    struct sim_host *host = sim_host_add(home);
    host->fault = sim_below(100);
    host->permanent = 0;
    for (unsigned i = 0; i < 5; i++) {
        char name[40];
        snprintf(name, sizeof(name), "d%u.example", i);
        struct sim_domain *domain = sim_domain_add(name);
        uint32_t kind = sim_below(20);
        domain->dns = kind == 0   ? DNS_NONE
                      : kind == 1 ? DNS_NULL_MX
                      : kind == 2 ? DNS_ADDRESS_ONLY
                      : kind <= 5 ? DNS_FAILS_AT_TIMES
                                  : DNS_MX;
        for (uint32_t k = domain->dns == DNS_ADDRESS_ONLY ? 1 : 1 + sim_below(3); k > 0; k--) {
            host = sim_host_add(domain);
            host->fault = sim_chance(300) ? 0 : sim_below(sim_chance(300) ? 900 : 200);
            host->permanent = sim_chance(500) ? 0 : sim_below(400);
            host->late_drop = sim_chance(300) ? sim_below(500) : 0;
            host->greylists = sim_chance(200);
            host->esmtp = !sim_chance(100);
            host->pipelining = sim_chance(700);
            host->dsn = sim_chance(400);
            host->chunking = sim_chance(400);
            host->rcpt_limit = sim_chance(200) ? 1 : 0;
            if (sim_chance(250)) {
                host->down_from = sim_below(12) * SIM_HOUR;
                host->down_until = host->down_from + sim_below(10) * SIM_HOUR;
            }
            if (seed % 10 == 5 && i == 0) {
                host->down_from = SIM_MINUTE;
                host->down_until = 3 * SIM_DAY;
            }
            host->dead = seed % 5 == 0 && i == 1;
        }
    }
}

static void make_letters(void)
{
    static const uint8_t notify[] = {0,
                                     0,
                                     0,
                                     DSN_NOTIFY_NEVER,
                                     DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE,
                                     DSN_NOTIFY_FAILURE,
                                     DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE | DSN_NOTIFY_DELAY,
                                     DSN_NOTIFY_DELAY};
    story.letter_count = 4 + sim_below(6);
    for (size_t i = 0; i < story.letter_count; i++) {
        struct letter *letter = &story.letters[i];
        *letter = (struct letter){.number = (unsigned)i + 1,
                                  .rcpt_count = 1 + sim_below(sim_chance(300) ? RCPTS_MAX : 2)};
        letter->local = sim_chance(250);
        if (!sim_chance(120)) {
            snprintf(letter->sender, sizeof(letter->sender), "%s",
                     letter->local ? "carl@local.example" : "ann@home.example");
        } else {
            letter->local = false;
        }
        for (size_t k = 0; k < letter->rcpt_count; k++) {
            struct rcpt *r = &letter->rcpts[k];
            r->letter = letter;
            r->domain = &sim_domains[1 + sim_below((uint32_t)sim_domain_count - 1)];
            r->notify = notify[sim_below(sizeof(notify))];
            snprintf(r->address, sizeof(r->address), "%s%zu@%s", sim_chance(80) ? "nobody" : "user", k,
                     r->domain->name);
        }
        sim_at(SIM_SECOND + sim_below(12 * 3600) * SIM_SECOND, NULL, sim_accept_letter, letter);
        story.totals.messages++;
        story.totals.recipients += (unsigned)letter->rcpt_count;
    }
}

static void plan_faults(void)
{
    static void (*const kinds[])(void *context) = {
        sim_kill_store, sim_kill_store, sim_kill_relay, sim_kill_relay,   sim_kill_both,
        sim_fill_disk,  sim_fail_write, sim_step_clock, sim_give_command, sim_give_command};
    uint32_t count = sim_chance(150) ? 0 : sim_below(14);
    bool steps = sim_chance(200);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t kind = sim_below(sizeof(kinds) / sizeof(kinds[0]));
        uint64_t at = SIM_MINUTE + sim_below(20 * 3600) * SIM_SECOND;
        if (kinds[kind] == sim_step_clock && !steps) {
            kind = 8;
        }
        sim_at(at + sim_below(1000000), NULL, kinds[kind], NULL);
    }
    /* Close behind a letter's arrival, when the first attempt is under way. */
    for (size_t i = 0; i < story.letter_count; i++) {
        if (sim_chance(250)) {
            static const unsigned near[] = {0, 2, 4, 5, 6, 8, 9};
            story.letters[i].trouble = kinds[near[sim_below(7)]];
        }
    }
}

static bool load_config(void)
{
    char area[1000];
    struct buf errors = buf_make(4096);
    snprintf(area, sizeof(area),
             "hostname = \"mail.local.example\"\n"
             "domain local.example { }\n"
             "relay { tls = none lifetime = %llus bounce_lifetime = 5d port = 25 ipv6 = false }\n",
             (unsigned long long)(story.lifetime_ms / 1000));
    bool fine = config_parse(str_of(area), "simulation", &story.config, &errors);
    if (!fine) {
        fprintf(stderr, "%.*s\n", STR_ARGS(buf_str(&errors)));
    }
    buf_free(&errors);
    return fine;
}

static char template_dir[64];

/* Making the tables takes longer than a seed: it is done once. */
static bool make_template(void)
{
    struct account account;
    struct buf errors = buf_make(4096);
    snprintf(template_dir, sizeof(template_dir), "%s/veredus-sim-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(template_dir) == NULL || chdir(template_dir) != 0) {
        return false;
    }
    struct index *index = index_open("index.db", true, &errors);
    bool fine = index != NULL && index_begin(index) == 0 &&
                account_add(index, STR("carl@local.example"), STR("x"), -1, 1, &account) == 0 &&
                index_commit(index) == 0;
    if (!fine) {
        fprintf(stderr, "simulation: %.*s\n", STR_ARGS(buf_str(&errors)));
    }
    index_close(index);
    buf_free(&errors);
    return fine;
}

static void copy_file(const char *from, const char *to)
{
    char area[65536];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n;
    while (in >= 0 && out >= 0 && (n = read(in, area, sizeof(area))) > 0) {
        if (write(out, area, (size_t)n) != n) {
            break;
        }
    }
    close(in);
    close(out);
}

static void remove_files(const char *name)
{
    DIR *list = opendir(name);
    for (struct dirent *entry = list == NULL ? NULL : readdir(list); entry != NULL; entry = readdir(list)) {
        char path[400];
        snprintf(path, sizeof(path), "%s/%s", name, entry->d_name);
        if (entry->d_type != DT_DIR) {
            unlink(path);
        } else if (entry->d_name[0] != '.') {
            remove_files(path);
        }
    }
    if (list != NULL) {
        closedir(list);
    }
    rmdir(name);
}

static void remove_template(void)
{
    if (chdir("/") == 0) {
        remove_files(template_dir);
    }
}

static bool make_directory(void)
{
    char path[120];
    if (template_dir[0] == '\0') {
        if (!make_template()) {
            return false;
        }
        atexit(remove_template);
    }
    snprintf(story.dir, sizeof(story.dir), "%s/run", template_dir);
    if (mkdir(story.dir, 0700) != 0 || chdir(story.dir) != 0) {
        return false;
    }
    snprintf(path, sizeof(path), "%s/index.db", template_dir);
    copy_file(path, "index.db");
    return true;
}

static int64_t queued_now(void)
{
    struct sim_process *store = sim_of(ROLE_STORE);
    if (store == NULL) {
        return -1;
    }
    sim_enter(store);
    int64_t count = entry_count(((struct store *)sim_role(store)->data)->index);
    sim_leave();
    return count;
}

static void run_until(uint64_t until)
{
    while (story.failure[0] == '\0' && sim_step(until)) {
    }
}

/* The day with its faults, then quiet until nothing is queued. */
static void live(void)
{
    run_until(SIM_DAY);
    sim_faults = false;
    sim_write_fault = 0;
    sim_disturb();
    run_until(SIM_DAY + SIM_MINUTE);
    sim_release_all();
    uint64_t end = sim_now() + (story.lifetime_ms * SIM_MS) + 6 * SIM_DAY;
    while (story.failure[0] == '\0' && sim_now() < end && queued_now() != 0) {
        run_until(sim_now() + 30 * SIM_MINUTE);
    }
    run_until(sim_now() + SIM_MINUTE);
}

static void begin_seed(uint64_t seed)
{
    sim_reset(seed);
    sim_net_reset();
    story.totals = (struct sim_totals){0};
    story.failure[0] = '\0';
    story.last_notice[0] = '\0';
    story.letter_count = 0;
    story.clock_stepped = false;
    story.disturbed_us = 0;
    story.delay_ms = 4 * 3600 * 1000ULL;
    json_set_alloc_funcs(mem_alloc, mem_free); /* as store_admin_open does */
    json_object_seed(1);
    story.lifetime_ms = (seed % 10 == 0 || seed % 10 == 5 ? 120ULL : 20ULL) * 3600 * 1000;
    memset(story.key, 7, sizeof(story.key));
    sim_watch_begin();
    sim_server_begin();
}

static void add_totals(struct sim_totals *all)
{
    const unsigned *from = (const unsigned *)&story.totals;
    unsigned *to = (unsigned *)all;
    for (size_t i = 0; i < sizeof(story.totals) / sizeof(unsigned); i++) {
        to[i] += from[i];
    }
}

/* False: it cannot begin. */
static bool begin_roles(void)
{
    if (!make_directory() || !load_config()) {
        fprintf(stderr, "simulation: the directory or the configuration cannot be made\n");
        return false;
    }
    return sim_server_start();
}
static void end_seed(void)
{
    sim_end();
    sim_net_end();
    remove_files(story.dir);
}

bool sim_play(const struct sim_scenario *scenario, struct sim_outcome *outcome)
{
    begin_seed(5);
    sim_faults = scenario->host.greylists;
    if (!begin_roles()) {
        return false;
    }
    sim_host_add(sim_domain_add("home.example"));
    struct sim_domain *domain = sim_domain_add("far.example");
    struct sim_host *host = sim_host_add(domain);
    struct sim_host shape = scenario->host;
    memcpy(shape.name, host->name, sizeof(shape.name));
    memcpy(shape.address, host->address, sizeof(shape.address));
    shape.esmtp = true;
    shape.pipelining = true;
    *host = shape;
    story.letter_count = 1;
    story.letters[0] = (struct letter){.number = 1, .rcpt_count = scenario->recipients};
    snprintf(story.letters[0].sender, sizeof(story.letters[0].sender), "%s",
             scenario->sender == NULL ? "ann@home.example" : scenario->sender);
    for (unsigned i = 0; i < scenario->recipients; i++) {
        struct rcpt *r = &story.letters[0].rcpts[i];
        *r = (struct rcpt){.letter = &story.letters[0], .domain = domain, .notify = scenario->notify};
        snprintf(r->address, sizeof(r->address), "user%u@far.example", i);
    }
    sim_at(SIM_SECOND, NULL, sim_accept_letter, &story.letters[0]);
    while (story.failure[0] == '\0' && sim_now() < 12 * SIM_DAY &&
           (sim_now() < SIM_MINUTE || queued_now() != 0)) {
        run_until(sim_now() + SIM_MINUTE);
    }
    sim_check_all();
    const struct rcpt *r = &story.letters[0].rcpts[0];
    *outcome = (struct sim_outcome){.copies = r->copies,
                                    .failed = r->failed,
                                    .delayed = r->delayed,
                                    .relayed = r->relayed,
                                    .uncertain = r->uncertain,
                                    .copied_us = r->copied_us,
                                    .failed_us = r->failed_us,
                                    .delayed_us = r->delayed_us,
                                    .attempts = r->attempts};
    memcpy(outcome->notice, story.last_notice, sizeof(story.last_notice));
    end_seed();
    if (story.failure[0] != '\0') {
        fprintf(stderr, "simulation: scenario: %s\n", story.failure);
    }
    return story.failure[0] == '\0';
}

bool sim_run(uint64_t seed, struct sim_totals *all)
{
    begin_seed(seed);
    make_domains(seed);
    if (!begin_roles()) {
        return false;
    }
    make_letters();
    plan_faults();
    live();
    sim_check_all();
    add_totals(all);
    end_seed();
    if (story.failure[0] != '\0') {
        fprintf(stderr, "simulation: seed %llu: %s\n", (unsigned long long)seed, story.failure);
    }
    return story.failure[0] == '\0';
}
