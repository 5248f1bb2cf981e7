/* What the program asks of the board. */
#include <stddef.h>
#include <stdint.h>

/* Starts to count instructions. */
void start_counting(void);

/* Returns the thousands of instructions since then. */
uint32_t thousand_instructions(void);

/* Returns the most bytes that the stack has had. */
size_t stack_bytes(void);
