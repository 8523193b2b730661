/*
 * The clocks. Timers use the monotonic clock; the wall clock only makes text and ids, so
 * a jump of it changes no schedule (goal G7). Engines never call these: they are given the time.
 */
#ifndef VEREDUS_BASE_CLOCK_H
#define VEREDUS_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds since some fixed point; never goes back. */
uint64_t clock_monotonic_ms(void);
/* Microseconds of the same clock, for measurements. */
uint64_t clock_monotonic_us(void);
/* Milliseconds since 1970-01-01T00:00:00Z. */
uint64_t clock_wall_ms(void);

#endif
