/* Who a recipient is; see resolve.h. */
#include "store/resolve.h"

#include "base/mem.h"
#include "message/path.h"

enum { RESOLVE_MEMORY = 256 << 10 };

/* Addresses that are still to be expanded; a list, so that aliases of aliases need no recursion. */
struct work {
    struct str address;
    unsigned depth;
};

struct expansion {
    struct index *index;
    const struct config *config;
    struct resolution *out;
    struct work pending[RESOLVE_TARGETS_MAX];
    size_t pending_count;
    bool error;
};

int64_t resolve_quota(const struct config *config, const struct account *account)
{
    return account->quota >= 0 ? account->quota : (int64_t)config->quota;
}

static bool is_our_domain(const struct config *config, struct str domain)
{
    const struct config_domain *entry = config_find_domain(config, domain);
    return config->dev || (entry != NULL && !entry->relay_only);
}

static bool add_target(struct expansion *e, int64_t account, struct str address)
{
    for (size_t i = 0; i < e->out->count; i++) {
        const struct resolve_target *t = &e->out->targets[i];
        if (account != 0 ? t->account == account : (t->account == 0 && str_equal(t->address, address))) {
            return true; /* two ways to one mailbox make one copy */
        }
    }
    if (e->out->count == RESOLVE_TARGETS_MAX) {
        e->out->truncated = true;
        return true;
    }
    struct str copy = arena_copy(&e->out->arena, address);
    if (copy.data == NULL) {
        e->error = true;
        return false;
    }
    e->out->targets[e->out->count++] = (struct resolve_target){.account = account, .address = copy};
    return true;
}

static void push(struct expansion *e, struct str address, unsigned depth)
{
    for (size_t i = 0; i < e->pending_count; i++) {
        if (str_equal(e->pending[i].address, address)) {
            return; /* a loop, or two ways to one address */
        }
    }
    if (e->pending_count == RESOLVE_TARGETS_MAX || depth > RESOLVE_DEPTH_MAX) {
        e->out->truncated = true;
        return;
    }
    struct str copy = arena_copy(&e->out->arena, address);
    if (copy.data == NULL) {
        e->error = true;
        return;
    }
    e->pending[e->pending_count++] = (struct work){.address = copy, .depth = depth};
}

/* An account gets its mail unless it is disabled; how full it is counts only if all others are fuller. */
static bool add_account(struct expansion *e, const struct account *account)
{
    if (account->state != ACCOUNT_ACTIVE) {
        e->out->disabled = true;
        return true;
    }
    int64_t quota = resolve_quota(e->config, account);
    int64_t room = quota > 0 ? quota - account->used_octets : INT64_MAX;
    e->out->room = room > e->out->room ? room : e->out->room;
    return add_target(e, account->id, account_address(account));
}

/* Adds what an alias of this very address leads to. True if there is one. */
static bool expand_alias(struct expansion *e, struct str address, unsigned depth)
{
    sqlite3_stmt *q = sql_prepare(e->index, SQL_ALIAS_TARGETS);
    if (q == NULL) {
        e->error = true;
        return false;
    }
    bool any = false;
    sql_text(q, 1, address);
    e->index->error[0] = '\0';
    while (sql_row(e->index, q)) {
        struct str target = sql_get_text(q, 0);
        any = true;
        if (str_equal(target, address)) {
            struct account self;
            /* An alias to itself keeps a copy: the statement is another one, so this may run inside. */
            int found = account_find(e->index, address, &self);
            if (found == 1) {
                add_account(e, &self);
            }
        } else {
            push(e, target, depth + 1);
        }
    }
    e->error = e->error || e->index->error[0] != '\0';
    return any;
}

/* An account or alias of exactly this address. */
static bool expand_exact(struct expansion *e, struct str address, unsigned depth)
{
    if (expand_alias(e, address, depth)) {
        e->out->by_alias = true;
        return true;
    }
    struct account account;
    int found = account_find(e->index, address, &account);
    if (found < 0) {
        e->error = true;
    } else if (found == 1) {
        add_account(e, &account);
    }
    return found == 1;
}

static bool expand_tagged(struct expansion *e, struct str local, struct str domain, char separator,
                          unsigned depth)
{
    size_t at = separator == '\0' ? SIZE_MAX : str_find(local, 0, separator);
    if (at == SIZE_MAX || at == 0) {
        return false;
    }
    char area[ACCOUNT_ADDRESS_MAX + 8];
    struct buf plain = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    bool quoted = local.data[0] == '"';
    char written[ACCOUNT_ADDRESS_MAX + 8];
    struct buf user = {.data = written, .cap = sizeof(written), .limit = sizeof(written)};
    buf_append_str(&user, str_sub(local, 0, at));
    buf_append_str(&user, quoted ? STR("\"@") : STR("@")); /* only the tag may need quotes */
    buf_append_str(&user, domain);
    if (!buf_ok(&user) || !address_lookup_form(buf_str(&user), &plain) ||
        !expand_exact(e, buf_str(&plain), depth)) {
        return false;
    }
    if (depth == 0) {
        e->out->address = arena_copy(&e->out->arena, buf_str(&plain));
    }
    return true;
}

static bool is_postmaster(struct str local)
{
    return str_equal(local, STR("postmaster")) || str_equal(local, STR("abuse"));
}

static bool expand_first_account(struct expansion *e)
{
    struct account first;
    int found = account_first(e->index, &first);
    e->error = e->error || found < 0;
    return found == 1 && add_account(e, &first);
}

static bool expand_postmaster(struct expansion *e, struct str local, unsigned depth)
{
    if (!is_postmaster(local)) {
        return false;
    }
    if (e->config->postmaster.len > 0) {
        char area[ACCOUNT_ADDRESS_MAX + 8];
        struct buf address = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        if (address_lookup_form(e->config->postmaster, &address)) {
            push(e, buf_str(&address), depth + 1);
            return true;
        }
    }
    return expand_first_account(e);
}

static bool expand_catch_all(struct expansion *e, const struct config_domain *domain, struct str address,
                             unsigned depth)
{
    char area[ACCOUNT_ADDRESS_MAX + 8];
    struct buf target = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    if (domain == NULL || domain->catch_all.len == 0 || !address_lookup_form(domain->catch_all, &target) ||
        str_equal(buf_str(&target), address)) {
        return false;
    }
    push(e, buf_str(&target), depth + 1);
    return true;
}

/* One address of ours. True if it leads somewhere. In `veredus dev` every address has a mailbox of its own, the postmaster too. */
static bool expand_local(struct expansion *e, struct str address, unsigned depth)
{
    struct str local;
    struct str domain;
    if (!address_split(address, &local, &domain)) {
        return false;
    }
    const struct config_domain *entry = config_find_domain(e->config, domain);
    return expand_exact(e, address, depth) ||
           expand_tagged(e, local, domain, entry == NULL ? '+' : entry->separator, depth) ||
           (!e->config->dev && expand_postmaster(e, local, depth)) ||
           expand_catch_all(e, entry, address, depth);
}

static void expand_pending(struct expansion *e)
{
    for (size_t i = 0; i < e->pending_count; i++) {
        struct str local;
        struct str domain;
        struct str address = e->pending[i].address;
        if (!address_split(address, &local, &domain)) {
            continue;
        }
        if (is_our_domain(e->config, domain)) {
            expand_local(e, address, e->pending[i].depth);
        } else {
            e->out->room = INT64_MAX;
            add_target(e, 0, address);
        }
    }
}

/* "postmaster" alone is the postmaster of the first domain (RFC 5321, section 4.1.1.3). */
static bool lookup_form(const struct config *config, struct str address, struct buf *out)
{
    if (!str_equal_nocase(address, STR("postmaster"))) {
        return address_lookup_form(address, out);
    }
    buf_append_lit(out, "postmaster@");
    return buf_append_str(out, config->domain_count > 0 ? config->domains[0].name : config->hostname);
}

void resolve_recipient(struct index *index, const struct config *config, struct str address,
                       struct resolution *out)
{
    memset(out, 0, offsetof(struct resolution, targets));
    out->room = INT64_MIN;
    out->arena = arena_make(RESOLVE_MEMORY);
    out->verdict = RESOLVED_ERROR;
    char area[1024];
    struct buf folded = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    struct str local;
    struct str domain;
    if (!lookup_form(config, address, &folded) || !address_split(buf_str(&folded), &local, &domain) ||
        folded.len > ACCOUNT_ADDRESS_MAX) {
        out->verdict = RESOLVED_UNKNOWN;
        out->address = STR_EMPTY;
        return;
    }
    out->address = arena_copy(&out->arena, buf_str(&folded));
    if (out->address.data == NULL) {
        return;
    }
    bool only_postmaster = str_equal_nocase(address, STR("postmaster"));
    if (!is_our_domain(config, domain) && !only_postmaster) {
        const struct config_domain *entry = config_find_domain(config, domain);
        out->verdict = entry != NULL ? RESOLVED_RELAY_DOMAIN : RESOLVED_REMOTE;
        return;
    }
    struct expansion e = {.index = index, .config = config, .out = out};
    bool found = expand_local(&e, buf_str(&folded), 0);
    expand_pending(&e);
    if (is_postmaster(local) && out->count == 0 && !e.error && !config->dev) {
        /* Wherever it should go: somebody gets it (RFC 5321, section 4.5.1). */
        found = expand_first_account(&e) || found;
        out->nobody_yet = out->count == 0;
    }
    if (e.error) {
        out->verdict = RESOLVED_ERROR;
    } else if (!found) {
        out->verdict = config->dev ? RESOLVED_NEW : RESOLVED_UNKNOWN;
    } else {
        out->disabled = out->disabled && out->count == 0;
        out->verdict = out->count > 0 || out->disabled ? RESOLVED_LOCAL : RESOLVED_UNKNOWN;
    }
}

void resolve_free(struct resolution *resolution)
{
    arena_free(&resolution->arena);
}

enum resolve_verdict resolve_sender(struct index *index, const struct config *config, int64_t id,
                                    struct str address, bool *allowed)
{
    *allowed = false;
    struct account account;
    int found = account_by_id(index, id, &account);
    if (found != 1) {
        return found < 0 ? RESOLVED_ERROR : RESOLVED_UNKNOWN; /* it has been removed since the login */
    }
    struct resolution *r = mem_new(struct resolution);
    if (r == NULL) {
        return RESOLVED_ERROR;
    }
    resolve_recipient(index, config, address, r);
    enum resolve_verdict verdict = r->verdict;
    if (verdict == RESOLVED_LOCAL) {
        for (size_t i = 0; i < r->count; i++) {
            *allowed = *allowed || r->targets[i].account == id;
        }
        /* Catch-alls and the postmaster rule lead to an account, but do not make the address its own. */
        if (*allowed && !str_equal(r->address, account_address(&account))) {
            *allowed = r->by_alias;
        }
    }
    resolve_free(r);
    mem_free(r);
    return verdict;
}
