/*
 * The commands' end of the control socket. A request is one line, {"command":"user add","arguments":{...}}; the answer is any
 * number of lines {"row":{...}}, then {"done":true,...} or {"error":{"code":..,"message":"..","advice":".."}}.
 */
#ifndef VEREDUS_CLI_CONTROL_H
#define VEREDUS_CLI_CONTROL_H

#include "cli/command.h"

#include <jansson.h>

struct control;

/*
 * Connects to the server that --dir, -c, the environment's VEREDUS_CONTROL or the standard configuration names. NULL after
 * saying why; *code is then the exit code.
 */
struct control *control_open(const struct cli_input *input, int *code);
void control_close(struct control *control);

/*
 * Sends a request (takes over `arguments`, which may be NULL) and reads its answer. Each row goes to `row`, which may be NULL.
 * Returns EX_OK, with *done the closing object if wanted (the caller's to decref), or an exit code after saying why.
 */
int control_call(struct control *control, const char *command, json_t *arguments,
                 void (*row)(void *context, json_t *row), void *context, json_t **done);

/* This descriptor goes with the next request; it stays the caller's. */
void control_pass(struct control *control, int fd);

/* Reads a configuration for what it says of the server's places; the caller's to unref. EX_OK, or a code after saying why. */
struct config;
int control_load_config(const struct cli_input *input, const char *name, struct config **config);

/* control_open, one control_call and control_close. */
int control_once(const struct cli_input *input, const char *command, json_t *arguments,
                 void (*row)(void *context, json_t *row), void *context, json_t **done);

#endif
