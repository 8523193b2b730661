/* What goes beyond single values of the configuration: names that are there twice, settings that need each other. */
#include "config/config_private.h"

#include "base/domain.h"

/* The form under which a domain is compared. False after a complaint. */
static bool normal_name(struct config_reader *reader, const char *kind, struct str *name, struct str prefix,
                        unsigned line)
{
    char area[2 * DOMAIN_MAX];
    struct buf form = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    buf_append_str(&form, prefix);
    if (!domain_normalize(str_from(*name, prefix.len), &form)) {
        config_complain(reader, line, "%s \"%.*s\": the name of the section is not a domain name", kind,
                        STR_ARGS(*name));
        return false;
    }
    struct str copy = arena_copy(&reader->config->arena, buf_str(&form));
    if (copy.data == NULL) {
        config_complain(reader, line, "the configuration does not fit into memory");
        return false;
    }
    *name = copy;
    return true;
}

/* The arena's sections are ours to change until the configuration is given out. */
static struct config_domain *domain_at(struct config *config, size_t i)
{
    return (struct config_domain *)(uintptr_t)&config->domains[i];
}

static struct config_route *route_at(struct config *config, size_t i)
{
    return (struct config_route *)(uintptr_t)&config->routes[i];
}

static void check_domains(struct config_reader *reader, struct config *config)
{
    for (size_t i = 0; i < config->domain_count; i++) {
        struct config_domain *d = domain_at(config, i);
        struct str written = d->name;
        if (!normal_name(reader, "domain", &d->name, STR_EMPTY, d->line)) {
            continue;
        }
        const struct config_domain *first = config_find_domain(config, d->name);
        if (first != d) {
            config_complain(reader, d->line,
                            "domain \"%.*s\" is there already, in line %u; put the settings together",
                            STR_ARGS(written), first->line);
        }
        if (d->relay_only && d->catch_all.len > 0) {
            config_complain(
                reader, d->line,
                "domain \"%.*s\": relay = true passes all mail on, so catch_all cannot be; leave one out",
                STR_ARGS(written));
        }
    }
}

static void check_route_name(struct config_reader *reader, struct config *config, size_t at)
{
    struct config_route *r = route_at(config, at);
    struct str written = r->domain;
    bool below = written.data[0] == '.';
    if (!str_equal(written, STR("*")) &&
        !normal_name(reader, "route", &r->domain, below ? STR(".") : STR_EMPTY, r->line)) {
        return;
    }
    for (size_t i = 0; i < at; i++) {
        if (str_equal(config->routes[i].domain, r->domain)) {
            config_complain(reader, r->line, "route \"%.*s\" is there already, in line %u; leave one out",
                            STR_ARGS(written), config->routes[i].line);
            return;
        }
    }
}

static void check_routes(struct config_reader *reader, struct config *config)
{
    for (size_t i = 0; i < config->route_count; i++) {
        check_route_name(reader, config, i);
        const struct config_route *r = &config->routes[i];
        if ((r->login.len > 0) != (r->password_file.len > 0)) {
            config_complain(reader, r->line,
                            "route \"%.*s\": login and password_file go together; %s is missing",
                            STR_ARGS(r->domain), r->login.len > 0 ? "password_file" : "login");
        } else if (r->login.len > 0 && r->tls != ROUTE_TLS_REQUIRED && r->tls != ROUTE_TLS_VERIFIED) {
            config_complain(
                reader, r->line,
                "route \"%.*s\": a login needs tls = required or tls = verified, else the password would "
                "travel in clear",
                STR_ARGS(r->domain));
        } else if (r->implicit_tls && r->tls == ROUTE_TLS_NONE) {
            config_complain(reader, r->line,
                            "route \"%.*s\": implicit_tls = true and tls = none exclude each other",
                            STR_ARGS(r->domain));
        }
    }
}

static bool is_for_logins(enum listener_kind kind)
{
    return kind == LISTENER_SUBMISSION || kind == LISTENER_POP3 || kind == LISTENER_IMAP;
}

static void check_listener_tls(struct config_reader *reader, const struct config *config,
                               const struct config_listener *l)
{
    if (l->tls != LISTENER_TLS_NONE && l->tls_name.len > 0 && config_find_tls(config, l->tls_name) == NULL) {
        const char *names[64];
        size_t count = 0;
        for (; count < config->tls_count && count < 64; count++) {
            names[count] = config->tls[count].name.data;
        }
        struct str near = config_nearest(l->tls_name, names, count);
        config_complain(reader, l->line, "listener \"%.*s\": there is no tls section named \"%.*s\"%s%.*s%s",
                        STR_ARGS(l->name), STR_ARGS(l->tls_name), near.len > 0 ? "; did you mean \"" : "",
                        STR_ARGS(near), near.len > 0 ? "\"?" : "");
    } else if (l->tls == LISTENER_TLS_IMPLICIT && config->tls_count == 0) {
        config_complain(reader, l->line,
                        "listener \"%.*s\": tls = implicit needs a tls section with certificate and key",
                        STR_ARGS(l->name));
    } else if (is_for_logins(l->kind) && config->tls_count == 0) {
        config_complain(
            reader, l->line,
            "listener \"%.*s\": nobody could log in without TLS; add a tls section with certificate and key",
            STR_ARGS(l->name));
    } else if (is_for_logins(l->kind) && l->tls == LISTENER_TLS_NONE) {
        config_complain(
            reader, l->line,
            "listener \"%.*s\": nobody could log in without TLS; write tls = starttls or tls = implicit",
            STR_ARGS(l->name));
    }
}

static const struct config_listener *same_place(const struct config *config, const struct config_listener *l)
{
    for (const struct config_listener *other = config->listeners; other < l; other++) {
        for (size_t i = 0; other->port == l->port && i < other->address_count; i++) {
            for (size_t k = 0; k < l->address_count; k++) {
                if (str_equal(other->addresses[i], l->addresses[k])) {
                    return other;
                }
            }
        }
    }
    return NULL;
}

static void check_listeners(struct config_reader *reader, const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *l = &config->listeners[i];
        const struct config_listener *other = same_place(config, l);
        check_listener_tls(reader, config, l);
        if (other != NULL) {
            config_complain(reader, l->line,
                            "listener \"%.*s\": port %u is listener \"%.*s\"'s already, in line %u",
                            STR_ARGS(l->name), l->port, STR_ARGS(other->name), other->line);
        }
    }
}

void config_check_whole(struct config_reader *reader, struct config *config)
{
    check_domains(reader, config);
    check_routes(reader, config);
    check_listeners(reader, config);
    if (config->limits.body_memory < config->limits.message_size) {
        config_complain(
            reader, 0,
            "limits: body_memory is smaller than message_size, so the largest messages could never be taken");
    }
}
