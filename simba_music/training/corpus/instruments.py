"""General MIDI instruments with their ranges and the words musicians use for them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """One General MIDI voice: program (0-127), comfortable MIDI pitch range, spoken names."""

    program: int
    low: int
    high: int
    names: tuple[str, ...]


INSTRUMENTS: dict[str, Instrument] = {
    "piano": Instrument(0, 36, 96, ("piano", "grand piano", "acoustic piano")),
    "electric piano": Instrument(4, 40, 90, ("electric piano", "Rhodes", "e-piano")),
    "harpsichord": Instrument(6, 41, 86, ("harpsichord",)),
    "celesta": Instrument(8, 60, 103, ("celesta", "celeste")),
    "music box": Instrument(10, 60, 100, ("music box",)),
    "vibraphone": Instrument(11, 53, 89, ("vibraphone", "vibes")),
    "marimba": Instrument(12, 45, 91, ("marimba",)),
    "xylophone": Instrument(13, 65, 103, ("xylophone",)),
    "church organ": Instrument(19, 36, 90, ("church organ", "pipe organ")),
    "drawbar organ": Instrument(16, 40, 90, ("organ", "Hammond organ")),
    "accordion": Instrument(21, 53, 89, ("accordion",)),
    "harmonica": Instrument(22, 60, 88, ("harmonica", "blues harp")),
    "nylon guitar": Instrument(24, 40, 79, ("classical guitar", "nylon-string guitar")),
    "steel guitar": Instrument(25, 40, 79, ("acoustic guitar", "steel-string guitar")),
    "jazz guitar": Instrument(26, 40, 81, ("jazz guitar", "clean electric guitar")),
    "distortion guitar": Instrument(30, 40, 81, ("distorted guitar", "distorted electric guitar")),
    "acoustic bass": Instrument(32, 28, 55, ("double bass", "upright bass")),
    "electric bass": Instrument(33, 28, 55, ("bass guitar", "electric bass")),
    "slap bass": Instrument(36, 28, 55, ("slap bass",)),
    "synth bass": Instrument(38, 28, 55, ("synth bass",)),
    "violin": Instrument(40, 55, 96, ("violin", "fiddle")),
    "cello": Instrument(42, 36, 74, ("cello",)),
    "pizzicato strings": Instrument(45, 40, 88, ("pizzicato strings", "plucked strings")),
    "harp": Instrument(46, 36, 96, ("harp",)),
    "strings": Instrument(48, 40, 90, ("strings", "string section", "string ensemble")),
    "choir": Instrument(52, 48, 79, ("choir", "wordless choir", "choir aahs")),
    "trumpet": Instrument(56, 55, 82, ("trumpet",)),
    "trombone": Instrument(57, 40, 70, ("trombone",)),
    "french horn": Instrument(60, 41, 77, ("French horn", "horn")),
    "brass section": Instrument(61, 45, 82, ("brass section", "brass", "horns")),
    "alto sax": Instrument(65, 50, 80, ("saxophone", "alto sax", "sax")),
    "oboe": Instrument(68, 58, 88, ("oboe",)),
    "bassoon": Instrument(70, 34, 70, ("bassoon",)),
    "clarinet": Instrument(71, 50, 88, ("clarinet",)),
    "flute": Instrument(73, 60, 96, ("flute",)),
    "pan flute": Instrument(75, 60, 91, ("pan flute", "pan pipes")),
    "square lead": Instrument(80, 48, 96, ("square-wave lead", "chiptune lead", "8-bit synth")),
    "saw lead": Instrument(81, 48, 91, ("synth lead", "sawtooth lead")),
    "warm pad": Instrument(89, 40, 84, ("synth pad", "warm pad", "pad")),
    "sweep pad": Instrument(95, 40, 84, ("sweeping pad", "atmospheric pad")),
    "sitar": Instrument(104, 48, 79, ("sitar",)),
    "banjo": Instrument(105, 48, 84, ("banjo",)),
    "koto": Instrument(107, 48, 84, ("koto",)),
    "kalimba": Instrument(108, 55, 88, ("kalimba", "thumb piano")),
    "steel drums": Instrument(114, 55, 84, ("steel drums", "steel pan")),
}
