/*
 * String port I/O. KVM hands over several items in one exit where it can: `count` items of `size` bytes behind each other at
 * data_offset; what it splits is its own affair, so a test joins the parts. Protected mode.
 */
#include "micro.h"
	.code32
	.globl _start
_start:
	mov	$PORT_TEST, %edx
	cld
	mov	$text, %esi
	mov	$5, %ecx
	rep outsb			/* "hello" */
	mov	$text, %esi
	mov	$3, %ecx
	rep outsw			/* "he" "ll" "o," */
	mov	$text, %esi
	mov	$2, %ecx
	rep outsl			/* "hell" "o, w" */
	xor	%ecx, %ecx
	rep outsb			/* nothing: no exit */

	mov	$BUFFER, %edi
	mov	$6, %ecx
	rep insb
	mov	$BUFFER, %esi
	mov	$6, %ecx
	rep outsb			/* what came in */

	std				/* backwards: from the last byte down */
	mov	$text + 4, %esi
	mov	$5, %ecx
	rep outsb			/* "olleh" */
	cld

	mov	$BUFFER, %esi		/* more than KVM's one page of data: several exits */
	mov	$5000, %ecx
	rep outsb
	hlt

text:	.ascii	"hello, world"
