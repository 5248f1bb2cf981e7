/* Arm's MPS2 board with a Cortex-M4 (AN386) in emulation: how it starts, and what it measures. */
#include "board.h"

#include <stdlib.h>
#include <string.h>

#define REGISTER(address) (*(volatile uint32_t*)(address))
#define COPROCESSORS REGISTER(0xE000ED88)
#define TIMER_CONTROL REGISTER(0x40000000)
#define TIMER REGISTER(0x40000004)

enum { UNUSED = 0xA5, KEPT = 128 };

extern uint8_t stack[], stack_end[], data[], data_end[], data_in_flash[], bss[], bss_end[]; /* of the linker script */
extern void initialise_monitor_handles(void); /* newlib's: standard output goes to the emulator */
extern int main(void);

static void reset(void) {
  COPROCESSORS |= 0xF << 20;                                 /* the floating-point unit's */
  __asm volatile("dsb\n isb");                               /* from the next instruction on */
  memset(stack, UNUSED, (size_t)(stack_end - stack) - KEPT); /* but what is in use now */
  memcpy(data, data_in_flash, (size_t)(data_end - data));
  memset(bss, 0, (size_t)(bss_end - bss));
  initialise_monitor_handles();
  exit(main());
}

__attribute__((section(".vectors"), used)) static const void* const vectors[] = {stack_end, (const void*)reset};

/* The timer counts down at 25 MHz. The emulator takes a nanosecond for an instruction, so a tick is 40 of them. */
void start_counting(void) {
  TIMER = UINT32_MAX;
  TIMER_CONTROL = 1;
}

uint32_t thousand_instructions(void) { return (UINT32_MAX - TIMER) / 25; }

size_t stack_bytes(void) {
  const uint8_t* used = stack;
  while (*used == UNUSED) used++;
  return (size_t)(stack_end - used);
}
