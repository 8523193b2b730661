/* Route plans from any DNS answer: never a host that is no host name, never beyond the limits, never ourselves. */
#include "queue/plan.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct plan_self self = {.name = {"me.example", 10},
                                      .address_count = 1,
                                      .addresses = {{.len = 4, .bytes = {192, 0, 2, 1}}},
                                      .port_count = 1,
                                      .ports = {25}};

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check(const struct plan *plan)
{
    must(plan->count <= PLAN_HOSTS_MAX);
    must((plan->verdict == PLAN_READY) == (plan->count > 0));
    for (size_t i = 0; i < plan->count; i++) {
        const struct plan_host *host = &plan->hosts[i];
        must(host->name_len > 0 && (i == 0 || plan->hosts[i - 1].preference <= host->preference));
        must(!str_equal(str_make(host->name, host->name_len), self.name));
        for (size_t k = 0; k < host->name_len; k++) {
            must(host->name[k] > ' ' && host->name[k] < 0x7f);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    static struct plan plan;
    struct str rest = str_make(data + 2, size - 2);
    struct resolve_mx_answer mx = {.status = data[0] % 5, .hosts = rest, .cause = STR_EMPTY};
    plan_from_mx(&mx, STR("domain.example"), &self, 25, data[1], &plan);
    check(&plan);
    plan_cut_self(&plan, data[1]);
    check(&plan);
    plan_from_mx(&mx, rest, &self, 25, data[1], &plan);
    check(&plan);
    plan_from_literal(rest, &self, 25, &plan);
    check(&plan);
    struct config_route route = {.host = rest};
    plan_from_route(&route, &plan);
    must(plan.count <= 1);

    struct plan_addresses addresses;
    struct resolve_host_answer host = {.status = data[0] % 5, .addresses = rest, .cause = STR_EMPTY};
    plan_addresses_from(&host, false, &self, 25, data[1], &addresses);
    must(addresses.count <= RESOLVE_ADDRESSES_MAX);
    must((addresses.verdict == PLAN_READY) == (addresses.count > 0));
    for (size_t i = 0; i < addresses.count; i++) {
        must(!plan_is_self(&self, &addresses.list[i], 25));
    }
    return 0;
}
