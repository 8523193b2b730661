/* The functions behind the commands; each is named in the table of commands.c and called by cli_run alone. */
#ifndef VEREDUS_CLI_RUN_H
#define VEREDUS_CLI_RUN_H

#include "cli/command.h"

#include <jansson.h>

/* serve.c */
int cli_dev(const struct cli_input *input);
int cli_serve(const struct cli_input *input);
int cli_fence(const struct cli_input *input);
/* settings.c */
int cli_config_check(const struct cli_input *input);
int cli_config_show(const struct cli_input *input);
/* help.c */
int cli_help(const struct cli_input *input);
int cli_version(const struct cli_input *input);
/* remote.c */
int cli_user_add(const struct cli_input *input);
int cli_user_passwd(const struct cli_input *input);
int cli_user_list(const struct cli_input *input);
int cli_user_quota(const struct cli_input *input);
int cli_user_disable(const struct cli_input *input);
int cli_user_enable(const struct cli_input *input);
int cli_user_remove(const struct cli_input *input);
int cli_acl_list(const struct cli_input *input);
int cli_acl_set(const struct cli_input *input);
int cli_acl_remove(const struct cli_input *input);
int cli_alias_add(const struct cli_input *input);
int cli_alias_list(const struct cli_input *input);
int cli_alias_remove(const struct cli_input *input);
int cli_reload(const struct cli_input *input);
int cli_stop(const struct cli_input *input);
/* queue.c */
int cli_queue_list(const struct cli_input *input);
int cli_queue_show(const struct cli_input *input);
int cli_queue_why(const struct cli_input *input);
int cli_queue_retry(const struct cli_input *input);
int cli_queue_hold(const struct cli_input *input);
int cli_queue_release(const struct cli_input *input);
int cli_queue_drop(const struct cli_input *input);
/* journey.c */
int cli_status(const struct cli_input *input);
int cli_trace(const struct cli_input *input);
/* explain.c */
int cli_explain(const struct cli_input *input);
/* recovery.c */
int cli_verify(const struct cli_input *input);
int cli_reindex(const struct cli_input *input);
/* import.c, export.c */
int cli_import(const struct cli_input *input);
int cli_export(const struct cli_input *input);
/* send.c */
int cli_send(const struct cli_input *input);
/* manual.c */
int cli_manpage(const struct cli_input *input);
int cli_completion(const struct cli_input *input);

/* Shared by these: the rows of a request as a table, or with --json a line each; and the rows as an array. */
struct cli_column;
int cli_list_rows(const struct cli_input *input, const char *command, json_t *arguments,
                  const struct cli_column *columns, size_t count, const char *empty);
int cli_collect_rows(const struct cli_input *input, const char *command, json_t *arguments, json_t *rows);

#endif
