"""The words that the corpus is made of."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    """
    Ada Amir Anna Aron Bela Bruno Carla Chen Clara Dario Dina Edda Elif Emil Farid Freya Georg Hana Hugo
    Ida Ines Ivan Jana Jonas Kofi Kira Lena Leon Lina Malik Mara Milo Mona Nadia Nils Nora Olga Omar
    Otto Paula Pavel Quinn Ravi Rosa Ruben Sami Sara Selma Simon Tarek Tessa Timo Uma Vera Victor Wanda
    Yara Yusuf Zane Zoe
    """
)
SURNAMES = _words(
    """
    Abbot Baker Castell Dorn Ebert Falk Grieg Hale Ibsen Jansen Keller Lund Marek Noor Okoye Pardo Quist
    Reyes Santos Tanaka Ueda Varga Weiss Young Zeller
    """
)
CITIES = _words(
    """
    Accra Bergen Cairo Dakar Essen Fez Genoa Hanoi Izmir Jena Kyoto Lima Malaga Nantes Osaka Porto Quito
    Riga Sofia Tunis Utrecht Vigo Warsaw York Zagreb
    """
)
OBJECTS = _words(
    """
    apple basket bell blanket book bottle box brush button candle card carpet chair clock coat coin
    compass cup drum feather flag flute fork glass glove hammer hat jar kettle key kite ladder lamp
    lantern lemon letter map marble mirror needle orange paddle pebble pencil pillow plate pot ribbon
    ring rope ruler saddle scarf shell shovel spoon stamp stone string table ticket torch towel trumpet
    umbrella vase violin wagon whistle
    """
)
GOODS = _words(
    """
    apples beads books bottles bricks buttons cakes candles cards carrots chairs coins cups eggs flowers
    glasses lemons letters marbles melons nails onions oranges pears pencils plates plums ribbons rolls
    seeds shells spoons stamps stickers stones tickets tiles tomatoes
    """
)
CONTAINERS = _words(
    """
    bag basket bowl box bucket cart crate drawer jar packet sack shelf tin tray
    """
)
COLOURS = _words(
    """
    black blue brown gold green grey orange pink purple red silver white yellow
    """
)
PLACES = _words(
    """
    attic barn bridge cave cellar chapel desert farm field forest garden harbour hill island kitchen
    lake library market meadow mill mountain museum orchard palace river school square station tower
    valley village
    """
)
ANIMALS = _words(
    """
    badger bear beaver cat crow deer dog donkey duck eagle fox frog goat goose hare hedgehog horse
    lizard mole mouse otter owl panda rabbit raven seal sheep snail squirrel swan tiger turtle wolf
    """
)
TRAITS = _words(
    """
    bold brave calm clever curious gentle kind lazy lonely patient proud quiet shy silly stubborn young
    """
)
HOBBIES = _words(
    """
    chess climbing cooking cycling dancing drawing fishing gardening hiking knitting painting reading
    rowing running sailing singing skating swimming tennis writing
    """
)
JOBS = _words(
    """
    baker carpenter dentist driver farmer gardener judge lawyer nurse painter pilot plumber teacher
    tailor
    """
)
FIELDS = _words(
    """
    amounts ages costs counts delays grades heights lengths levels marks prices rates scores sizes
    speeds steps sums times values weights widths
    """
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def plural(noun: str) -> str:
    """The plural of a noun of this module's lists."""
    if noun == "shelf":
        return "shelves"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def article(noun: str) -> str:
    """The noun with its indefinite article."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun
