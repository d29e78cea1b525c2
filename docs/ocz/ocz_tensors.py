"""Tensors of `.ocz` files: masks, values and the streams of symbols that tell them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import zstandard
from ocz_bits import Mixer, Notes, RangeDecoder, shares
from ocz_sections import Bulk

FLOATS = {1: 4, 10: 2, 11: 8, 16: 2}
INTEGERS = {2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 12: 4, 13: 8, 17: 1, 18: 1, 19: 1, 20: 1}
BLOCK = 1 << 22


@dataclass(frozen=True)
class Grid:
    """A weight's shape as three axes."""

    rows: int
    columns: int
    taps: int

    @property
    def size(self) -> int:
        """Elements."""
        return self.rows * self.columns * self.taps

    @property
    def width(self) -> int:
        """Elements of a row."""
        return self.columns * self.taps


def grid_of(shape: tuple[int, ...]) -> Grid:
    """The grid of a shape; a vector is one row."""
    if len(shape) < 2:
        return Grid(1, shape[0] if shape else 1, 1)
    return Grid(shape[0], shape[1], prod(shape[2:]))


def blocks(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The shapes of the blocks of a tensor."""
    count = prod(shape)
    if count == 0:
        return
    if count <= BLOCK:
        yield shape
        return
    row = count // shape[0]
    if row > BLOCK:
        yield from ((min(BLOCK, count - start),) for start in range(0, count, BLOCK))
        return
    step = BLOCK // row
    yield from ((min(step, shape[0] - start), *shape[1:]) for start in range(0, shape[0], step))


def tensor(notes: Notes, bulk: Bulk, data_type: int, shape: tuple[int, ...]) -> bytes:
    """The bytes of a tensor."""
    size, is_float = FLOATS.get(data_type) or INTEGERS.get(data_type, 1), data_type in FLOATS
    if not notes.flag("regular"):
        size, is_float, shape = 1, False, (notes.number("bytes"),)
    words = [word for part in blocks(shape) for word in block(notes, bulk, part, size, is_float)]
    return b"".join(word.to_bytes(size, "little") for word in words)


def block(notes: Notes, bulk: Bulk, shape: tuple[int, ...], size: int, is_float: bool) -> list[int]:
    """The words of a block: its elements as unsigned integers."""
    grid = grid_of(shape)
    if not notes.flag("mask"):
        return values(notes, bulk, grid, list(range(grid.size)), 0, size, is_float)
    mask, period = mask_of(notes, bulk, grid)
    places = [place for place, bit in enumerate(mask) if bit]
    words = [0] * grid.size
    for place, word in zip(places, values(notes, bulk, grid, places, period, size, is_float), strict=True):
        words[place] = word
    return words


def values(
    notes: Notes, bulk: Bulk, grid: Grid, places: list[int], period: int, size: int, is_float: bool
) -> list[int]:
    """The words at the given places of a grid."""
    if not places:
        return []
    form = notes.choice("form", 3)
    if form == 0:
        table = table_of(notes, notes.number("table") + 1, size, is_float)
        return [table[symbol] for symbol in stream(notes, bulk, grid, places, len(table), period)]
    if form == 2:
        return scalars(notes, len(places), size, is_float)
    planes = [stream(notes, bulk, grid, places, 256, 0) for _ in range(size)]
    words = [int.from_bytes(bytes(column), "big") for column in zip(*planes, strict=True)]
    top = 8 * size - 1
    return [word >> 1 | (word & 1) << top for word in words] if is_float else words


def mask_of(notes: Notes, bulk: Bulk, grid: Grid) -> tuple[list[int], int]:
    """The mask of a block, a bit for each place, and its period."""
    if not notes.flag("mask bit by bit"):
        return bulk_stream(notes, bulk, grid, list(range(grid.size)), 2), 0
    rows = [1] if grid.rows == 1 else liveness(notes, grid.rows, keep=True)
    columns = liveness(notes, grid.columns, keep=False)
    lines = [row for row in range(grid.rows) if rows[row]]
    places = [place for place in range(grid.width) if columns[place // grid.taps]]
    if notes.flag("mask by columns"):
        turned = mask_bits(notes, grid.width, grid.rows, places, lines, 0)
        return [turned[place][row] for row in range(grid.rows) for place in range(grid.width)], 0
    period = notes.number("period")
    straight = mask_bits(notes, grid.rows, grid.width, lines, places, period)
    return [bit for line in straight for bit in line], period


def liveness(notes: Notes, count: int, *, keep: bool) -> list[int]:
    """For each of `count` rows or columns 1 where it has a value that is not zero."""
    length = max((known for known in notes.live_rows if known and count % known == 0), default=0)
    repeats = count // length if length else 0
    hint = [2] * count if length <= 1 else [bit for bit in notes.live_rows[length] for _ in range(repeats)]
    mixer, left, found = Mixer(0.2, 0.2, 0.3, 0.3, 0.4), 3, []
    for expected in hint:
        near = expected << 3 | left
        bit = mixer.bit(notes, 0, 1 | left << 3, 2 | expected << 3, 3 | (near & ~6) << 3, 4 | near << 3)
        left = (left << 1 | bit) & 7
        found.append(bit)
    if keep:
        notes.live_rows[count] = found
    return found


def mask_bits(
    notes: Notes, height: int, width: int, lines: list[int], places: list[int], period: int
) -> list[list[int]]:
    """A mask bit by bit: the given lines, and in each the given places."""
    mixer = Mixer(-0.3, 0.6, 0.6, 0.15, 0.15 if period else 0.0)
    found = [[0] * width for _ in range(height)]
    for line in lines:
        row = found[line]

        def at(place: int, row: list[int] = row) -> int:
            return row[place] if place >= 0 else 0

        for place in places:
            left = at(place - 1) | at(place - 2) << 1 | at(place - 3) << 2
            ago = place - period
            before = at(ago) << 2 | at(ago - 1) << 1 | at(ago + 1) if period else 0
            contexts = 1 | line << 3, 2 | place << 3, 3 | left << 3, 4 | (before << 1 | left & 1) << 3
            row[place] = mixer.bit(notes, 0, *contexts)
    return found


def table_of(notes: Notes, count: int, size: int, is_float: bool) -> list[int]:
    """The words of a table."""
    sign = 1 << (8 * size - 1) if is_float and notes.flag("as numbers") else 0
    low = notes.tree("low bits", 7)
    is_negative = notes.flag("first is negative")
    found = [magnitude(notes, "first") * (-1 if is_negative else 1)]
    while len(found) < count:
        found.append(found[-1] + magnitude(notes, "step"))
    return [number << low if number >= 0 else sign | -number << low for number in found]


def magnitude(notes: Notes, context: str) -> int:
    """A number from 0 up: its length in bits, and what stands below the highest."""
    length = notes.tree(context, 7)
    return 1 << (length - 1) | notes.even(length - 1) if length else 0


def scalars(notes: Notes, count: int, size: int, is_float: bool) -> list[int]:
    """Words one after another."""
    bits = 8 * size
    if not is_float:
        found = [0]
        for _ in range(count):
            found.append(notes.number((size, min(found[-1], 7))))
        return [(n >> 1 if n % 2 == 0 else -(n + 1 >> 1)) & ((1 << bits) - 1) for n in found[1:]]
    low = notes.tree("low bits", 7)
    rest, last, words = bits - 9 - low, 0, []
    for _ in range(count):
        node = 1
        for _ in range(8):
            here = (node << 4 | size) << 3
            contexts = here, 1 | here | last << 16, 2 | here | last >> 3 << 16, 3 | here, 4
            node = node << 1 | notes.scalars.bit(notes, *contexts)
        last = node
        sign = notes.coded(2048)
        words.append(sign << (bits - 1) | (node & 255) << (bits - 9) | notes.even(rest) << low)
    return words


def stream(notes: Notes, bulk: Bulk, grid: Grid, places: list[int], alphabet: int, period: int) -> list[int]:
    """The symbols at the given places: bit by bit or in bulk."""
    if not notes.flag("symbols bit by bit"):
        return bulk_stream(notes, bulk, grid, places, alphabet)
    bits = max((alphabet - 1).bit_length(), 1)
    mixer = Mixer(0.3, 0.3, 0.3, 0.2, 0.2 if period else 0.0)
    line: dict[int, int] = {}
    last_row, last_column, last, found = -1, 0, 0, []
    for place in places:
        row, column = divmod(place, grid.width)
        if row != last_row:
            line, last_row, last_column = {}, row, -4
        near = min(column - last_column, 4)
        behind = last << 2 | 2 | (near == 1) if near < 4 else 0
        ago = ago_of(line, column, period)
        node = 1
        for _ in range(bits):
            here = node << 3
            sides = (1, row), (2, column), (3, behind), (4, ago)
            node = node << 1 | mixer.bit(notes, here, *(here | kind | side << 12 for kind, side in sides))
        line[column] = last = node - (1 << bits)
        last_column = column
        found.append(last)
    return found


def ago_of(line: dict[int, int], column: int, period: int) -> int:
    """What the symbol a period before says; 0 where there is none."""
    if not period:
        return 0
    if column - period in line:
        return line[column - period] << 1 | 1
    return (line.get(column - period - 1, line.get(column - period + 1, -1)) + 1) << 1


def bulk_stream(notes: Notes, bulk: Bulk, grid: Grid, places: list[int], alphabet: int) -> list[int]:
    """The symbols at the given places, coded in bulk."""
    count, method = len(places), notes.choice("stream", 5)
    if method == 0:
        return [notes.number("the one") & 255] * count
    if method == 1:
        width = max((alphabet - 1).bit_length(), 1)
        size = (count * width + 7) // 8
        bits = int.from_bytes(bulk.read(size), "big")
        return [bits >> (8 * size - width * (i + 1)) & ((1 << width) - 1) for i in range(count)]
    if method == 2:
        data = bulk.read(notes.number("zstd bytes"))
        return list(zstandard.ZstdDecompressor().decompressobj().decompress(data))
    if method == 3:
        return huffman(notes, bulk, count, alphabet)
    return ranges(notes, bulk, grid, places, alphabet)


def huffman(notes: Notes, bulk: Bulk, count: int, alphabet: int) -> list[int]:
    """Symbols of a canonical Huffman code, in lanes."""
    first = notes.number("first symbol")
    used = notes.number("symbols") + 1
    lengths = [0] * first + notes.levels("code length", used) + [0] * (alphabet - first - used)
    codes, code = {}, 0
    for length in range(1, 13):
        code <<= 1
        for symbol in (symbol for symbol in range(alphabet) if lengths[symbol] == length):
            codes[length, code] = symbol
            code += 1
    lanes = min(max(count // 1024, 1), 2048)
    least = notes.number("lane bytes")
    sizes = [least + notes.number("lane") for _ in range(lanes)]
    step, data, found = -(-count // lanes), bulk.read(sum(sizes)), []
    for lane, size in enumerate(sizes):
        start = sum(sizes[:lane])
        bits = "".join(f"{byte:08b}" for byte in data[start : start + size])
        place = 0
        for _ in range(min(step, count - step * lane)):
            length = next(n for n in range(1, 13) if (n, int(bits[place : place + n], 2)) in codes)
            found.append(codes[length, int(bits[place : place + length], 2)])
            place += length
    return found


def ranges(notes: Notes, bulk: Bulk, grid: Grid, places: list[int], alphabet: int) -> list[int]:
    """Symbols of the range coder, context after context."""
    count, classes = len(places), []
    for axis, extent in enumerate((grid.rows, grid.columns, grid.taps)):
        is_told = extent > 1 and count >= 16 * extent and notes.flag(f"classes {axis}")
        classes.append([min(n, 8) for n in notes.levels(f"class {axis}", extent)] if is_told else [4] * extent)

    def context(place: int) -> int:
        row, rest = divmod(place, grid.width)
        column, tap = divmod(rest, grid.taps)
        return max(0, min(8, classes[0][row] + classes[1][column] + classes[2][tap] - 8))

    groups: dict[int, list[int]] = {chosen: [] for chosen in range(9)}
    for order, place in enumerate(places):
        groups[context(place)].append(order)
    tables = {chosen: frequencies(notes, alphabet, len(group)) for chosen, group in groups.items() if group}
    decoder = RangeDecoder(bulk.read(notes.number("range bytes")))
    found = [0] * count
    for chosen, parts in tables.items():
        starts, is_sure = shares(parts), sum(part > 0 for part in parts) == 1
        for order in groups[chosen]:
            found[order] = parts.index(max(parts)) if is_sure else decoder.symbol(starts)
    return found


def frequencies(notes: Notes, alphabet: int, count: int) -> list[int]:
    """The frequencies of the symbols of a context."""
    first = notes.number("first symbol")
    end = first + notes.number("symbols") + 1
    largest = first + notes.number("largest")
    digits = 5 if notes.flag("few digits") else 14
    parts, length = [0] * alphabet, 0
    for symbol in (symbol for symbol in range(first, end) if symbol != largest):
        length = notes.tree(("frequency", length), 4)
        drop = max(length - digits, 0)
        below = max(length - 1 - drop, 0)
        parts[symbol] = (1 << below | notes.even(below)) << drop if length else 0
    parts[largest] = (1 << min(max(count.bit_length() + 1, 10), 14)) - sum(parts)
    return parts
