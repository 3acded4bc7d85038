/*
 * The encoded plan (src/container/plan/format.ts, version 1): its records, and the check of all of them before anything is executed. What
 * has passed holds no index, offset or length that leads outside the plan; what a system call makes of its arguments is the kernel's matter.
 */
#pragma once
#include "allowed-calls.h"
#include "sys.h"

#define MAGIC 0x4e414c504d4d5654ULL
#define VERSION 1
#define MAX_PLAN (16UL << 20)
#define MAX_PROGRAMS 16
#define REGISTERS 64
#define CONTROL_REGISTER 0
#define NONE 0xff
#define ENGINE 0xff
#define NO_TEXT 0xffffffffU

enum { KIND_NUMBER, KIND_REGISTER, KIND_DATA };

enum {
	OP_LABEL, OP_CALL, OP_CLONE, OP_JUMP, OP_SEND, OP_RECEIVE, OP_ENSURE, OP_COPY_TREE, OP_DECIMAL, OP_SEND_DESCRIPTOR,
	OP_HOOK, OP_EXEC, OP_SUPERVISE, OP_EXIT, OP_LOAD, OP_EXPECT, OP_END, OP_COUNT
};

enum { WHEN_ALWAYS, WHEN_NEGATIVE, WHEN_NOT_NEGATIVE, WHEN_ZERO, WHEN_NOT_ZERO, WHEN_COUNT };

/* New namespaces, CLONE_PARENT and CLONE_CLEAR_SIGHAND: nothing that parent and child would share. */
#define CLONE_ALLOWED (0x7e020080ULL | 0x8000ULL | 0x100000000ULL)

struct table {
	u32 at, count;
};

struct header {
	u64 magic;
	u32 version, size;
	struct table programs, steps, inherited, relocations, patches, data;
};

struct program {
	u32 first, count;
};

struct step {
	u8 op, flags, result, reg;
	u32 number, first_patch, patches, what;
	u16 allow[4];
	u8 kinds[8];
	u32 unused;
	u64 args[6];
};

struct inherited {
	u32 reg;
	int fd;
};

struct relocation {
	u32 at, to;
};

struct patch {
	u32 at;
	u8 size, reg;
	u16 unused;
};

_Static_assert(sizeof(struct header) == 64 && sizeof(struct step) == 88, "the records of format.ts");

/* The plan as loaded: pointers into the launcher's own copy. */
static struct {
	const struct header *header;
	const struct program *programs;
	const struct step *steps;
	const struct inherited *inherited;
	const struct relocation *relocations;
	const struct patch *patches;
	u8 *data;
	u32 data_size;
} plan;

static void __attribute__((noreturn)) damaged(const char *what, i64 index)
{
	COMPLAIN("the plan is damaged: ", what, " ", NUMBER(index));
	leave(125);
}

static int call_is_allowed(u32 number)
{
	static u64 allowed[8];
	if (allowed[0] == 0) {
#define ALLOW(name) allowed[__NR_##name / 64] |= 1ULL << (__NR_##name % 64);
		ALLOWED_CALLS(ALLOW)
	}
	return number < 512 && (allowed[number / 64] >> number % 64 & 1);
}

/* Whether `size` bytes at argument `n` are data of the plan. */
static int is_data(const struct step *step, int n, u64 size)
{
	return step->kinds[n] == KIND_DATA && size <= plan.data_size && step->args[n] <= plan.data_size - size;
}

/* A vector of addresses inside the data, ended by a null. Relocations have been applied. */
static int is_vector(const struct step *step, int n)
{
	if (!is_data(step, n, 8) || step->args[n] % 8 != 0)
		return 0;
	for (u64 at = step->args[n]; at + 8 <= plan.data_size; at += 8) {
		u64 address = *(const u64 *)(plan.data + at);
		if (address == 0)
			return 1;
		if (address < (u64)plan.data || address >= (u64)plan.data + plan.data_size)
			return 0;
	}
	return 0;
}

static int is_register(u8 reg)
{
	return reg < REGISTERS;
}

static int is_field_size(u8 size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

/* What an operation needs beyond what holds for every record. */
static int step_is_whole(const struct step *s, u32 program, u32 index, u32 count)
{
	switch (s->op) {
	case OP_LABEL:
		return 1;
	case OP_CALL:
		return call_is_allowed(s->number);
	case OP_CLONE:
		return s->number > program && s->number < plan.header->programs.count && is_register(s->result) &&
		       s->kinds[0] == KIND_NUMBER && (s->args[0] & ~CLONE_ALLOWED) == 0;
	case OP_JUMP:
		return s->number > index && s->number < count && s->flags < WHEN_COUNT &&
		       (s->flags == WHEN_ALWAYS || is_register(s->reg));
	case OP_SEND:
	case OP_RECEIVE:
		return s->number >= 1 && s->number <= 99 &&
		       (s->flags == ENGINE || (s->flags < plan.header->programs.count && s->flags != program));
	case OP_ENSURE:
		return is_register(s->reg) && is_register(s->result) && is_data(s, 0, 1) && s->kinds[1] == KIND_NUMBER;
	case OP_COPY_TREE:
		return s->kinds[0] == KIND_REGISTER && s->kinds[1] == KIND_REGISTER;
	case OP_DECIMAL:
		return is_register(s->reg) && s->kinds[1] == KIND_NUMBER && s->args[1] >= 1 && s->args[1] <= 20 &&
		       is_data(s, 0, s->args[1]);
	case OP_SEND_DESCRIPTOR:
		return s->kinds[0] == KIND_REGISTER && s->kinds[1] == KIND_REGISTER && s->kinds[3] == KIND_NUMBER &&
		       s->args[3] >= 1 && is_data(s, 2, s->args[3]);
	case OP_HOOK:
		return is_data(s, 0, 1) && is_vector(s, 1) && is_vector(s, 2) && s->kinds[4] == KIND_NUMBER &&
		       is_data(s, 3, s->args[4]) && s->kinds[5] == KIND_NUMBER && s->args[5] <= 1000000000;
	case OP_EXEC:
		return is_vector(s, 0) && is_vector(s, 1) && is_vector(s, 2);
	case OP_SUPERVISE:
	case OP_END:
		return is_register(s->reg) && s->number >= 1 && s->number <= 99;
	case OP_EXIT:
		return s->number <= 255;
	case OP_LOAD:
		/* a1 mask; number 1: the result is whether the masked field equals a2, 0: the masked field (format.ts). */
		return is_register(s->result) && is_field_size(s->flags) && is_data(s, 0, s->flags) && s->kinds[1] == KIND_NUMBER &&
		       s->kinds[2] == KIND_NUMBER && s->number <= 1;
	case OP_EXPECT:
		return is_field_size(s->flags) && is_data(s, 0, s->flags) && s->kinds[1] == KIND_NUMBER &&
		       s->kinds[2] == KIND_NUMBER && s->number >= 1 && s->number < 4096;
	default:
		return 0;
	}
}

static int step_is_valid(const struct step *s, u32 program, u32 index, u32 count)
{
	if ((s->result != NONE && !is_register(s->result)) || (s->reg != NONE && !is_register(s->reg)))
		return 0;
	if (s->what != NO_TEXT && s->what >= plan.data_size)
		return 0;
	if ((u64)s->first_patch + s->patches > plan.header->patches.count)
		return 0;
	for (int n = 0; n < 6; n++) {
		if (s->kinds[n] > KIND_DATA || (s->kinds[n] == KIND_DATA && s->args[n] >= plan.data_size) ||
		    (s->kinds[n] == KIND_REGISTER && s->args[n] >= REGISTERS))
			return 0;
	}
	return step_is_whole(s, program, index, count);
}

/* Where a table begins; ends the launcher unless all of it lies behind the header and before the data. */
static const void *table_at(u8 *whole, struct table table, u64 record, const char *name)
{
	const struct header *h = plan.header;
	if (table.at % 8 != 0 || table.at < sizeof *h || table.at + table.count * record > h->data.at)
		damaged(name, table.count);
	return whole + table.at;
}

/* Checks and relocates a plan of `size` bytes at `whole`, 8-aligned. Ends the launcher with status 125 and a sentence if it is not one. */
static void load_plan(u8 *whole, u64 size)
{
	const struct header *h = plan.header = (const struct header *)whole;
	if (size < sizeof *h || h->magic != MAGIC)
		damaged("it does not begin as a plan does; bytes:", (i64)size);
	if (h->version != VERSION)
		damaged("it is written for another launcher, format", h->version);
	if (h->size != size)
		damaged("its size is not what its header says:", h->size);
	if (h->data.at % 8 != 0 || h->data.at < sizeof *h || (u64)h->data.at + h->data.count != size || h->data.count == 0)
		damaged("its data is not at its end, but at", h->data.at);
	if (h->programs.count < 1 || h->programs.count > MAX_PROGRAMS)
		damaged("programs:", h->programs.count);
	plan.programs = table_at(whole, h->programs, sizeof *plan.programs, "there is no room for programs:");
	plan.steps = table_at(whole, h->steps, sizeof *plan.steps, "there is no room for steps:");
	plan.inherited = table_at(whole, h->inherited, sizeof *plan.inherited, "there is no room for inherited descriptors:");
	plan.relocations = table_at(whole, h->relocations, sizeof *plan.relocations, "there is no room for relocations:");
	plan.patches = table_at(whole, h->patches, sizeof *plan.patches, "there is no room for patches:");
	plan.data = whole + h->data.at;
	plan.data_size = h->data.count;
	if (plan.data[plan.data_size - 1] != 0)
		damaged("its data does not end with a zero byte, at", plan.data_size);
	for (u32 i = 0; i < h->relocations.count; i++) {
		const struct relocation *r = &plan.relocations[i];
		if ((u64)r->at + 8 > plan.data_size || r->to >= plan.data_size)
			damaged("relocation", i);
		u64 address = (u64)(plan.data + r->to);
		memcpy(plan.data + r->at, &address, 8);
	}
	/* A relocation may have been written over the last byte. */
	if (plan.data[plan.data_size - 1] != 0)
		damaged("a relocation covers the end of its data, at", plan.data_size);
	for (u32 i = 0; i < h->patches.count; i++) {
		const struct patch *p = &plan.patches[i];
		if ((p->size != 4 && p->size != 8) || (u64)p->at + p->size > plan.data_size || !is_register(p->reg))
			damaged("patch", i);
	}
	for (u32 i = 0; i < h->inherited.count; i++) {
		if (!is_register((u8)(plan.inherited[i].reg > 255 ? 255 : plan.inherited[i].reg)) || plan.inherited[i].fd < 0)
			damaged("inherited descriptor", i);
	}
	for (u32 p = 0; p < h->programs.count; p++) {
		const struct program *program = &plan.programs[p];
		if ((u64)program->first + program->count > h->steps.count || program->count > 65535)
			damaged("program", p);
		for (u32 i = 0; i < program->count; i++) {
			if (!step_is_valid(&plan.steps[program->first + i], p, i, program->count))
				damaged("step", program->first + i);
		}
	}
}
