"""The work of the team of ``ruth.py``: its people, the passages of Ruth, key terms and notes, as tables.

The people and the signs are made up. Chapters, verses and Hebrew words are those of the book; every sentence
about them was written for this example.
"""

from __future__ import annotations

from typing import NamedTuple

TEAM = {
    "nb": ("Noémie Baptiste", "translator and signer"),
    "ti": ("Tomás Irigoyen", "translator and signer"),
    "wk": ("Wanjirũ Kamau", "exegete"),
    "dc": ("Đặng Minh Châu", "video editor"),
    "zl": ("Zsófia Lőrincz", "community checking"),
    "mb": ("Miryam Ben-Ami (מרים)", "translation consultant"),
}  # key -> name, role


class Passage(NamedTuple):
    """One unit of translation."""

    chapter: int
    first: int
    last: int
    title: str
    signer: str  # a key of TEAM

    @property
    def verses(self) -> str:
        """The range in the usual form, such as ``1:6-14``."""
        return f"{self.chapter}:{self.first}-{self.last}"

    @property
    def id(self) -> str:
        """An id that sorts in the order of the book."""
        return f"ruth-{self.chapter}.{self.first:02}-{self.last:02}"


CHAPTERS = {
    1: "From Bethlehem to Moab and back",
    2: "In the field of Boaz",
    3: "Night at the threshing floor",
    4: "At the gate, and a child for Naomi",
}

PASSAGES = (
    Passage(1, 1, 5, "Famine, and three graves in Moab", "nb"),
    Passage(1, 6, 14, "Three widows on the road", "nb"),
    Passage(1, 15, 18, "Ruth will not leave", "nb"),
    Passage(1, 19, 22, "“Call me Mara”", "ti"),
    Passage(2, 1, 7, "Ruth goes out to glean", "ti"),
    Passage(2, 8, 13, "Boaz speaks with Ruth", "ti"),
    Passage(2, 14, 16, "A meal among the harvesters", "nb"),
    Passage(2, 17, 23, "An ephah of barley for Naomi", "nb"),
    Passage(3, 1, 5, "Naomi has a plan", "ti"),
    Passage(3, 6, 9, "At the feet of Boaz", "ti"),
    Passage(3, 10, 13, "A promise, and a nearer redeemer", "ti"),
    Passage(3, 14, 18, "Six measures before dawn", "nb"),
    Passage(4, 1, 6, "The nearer redeemer steps back", "nb"),
    Passage(4, 7, 10, "The sandal and the witnesses", "ti"),
    Passage(4, 11, 12, "The blessing of the elders", "ti"),
    Passage(4, 13, 17, "A son is born to Naomi", "nb"),
    Passage(4, 18, 22, "From Perez to David", "ti"),
)

# Takes that were recorded and discarded: verses -> reason.
BAD_TAKES = {
    "1:15-18": "a cloud passed: the light changes between the second and the third line",
    "3:6-9": "the left hand leaves the picture at 3:8",
    "4:1-6": "the ten elders were placed on both sides of the gate",
}


class Gloss(NamedTuple):
    """A key term, and the sign that the team chose."""

    key: str
    hebrew: str
    meaning: str
    sign: str
    verse: str  # of its first occurrence
    revised: str = ""  # the sign after community checking, when viewers did not understand it
    dropped: str = ""  # the reason why the term was removed from the list


GLOSSES = (
    Gloss("judge", "שֹׁפֵט", "judge", "both flat hands weigh up and down", "1:1",
          dropped="means a court of law to everybody; “leader” replaces it"),
    Gloss("leader", "שֹׁפֵט", "leader, one who rescues",
          "the strong hand goes ahead, the weak hand follows", "1:1"),
    Gloss("famine", "רָעָב", "famine", "hollow cheeks; claw hand turns empty at the belly", "1:1"),
    Gloss("bethlehem", "בֵּית לֶחֶם", "Bethlehem, “house of bread”", "BREAD, then TOWN, at the right", "1:1"),
    Gloss("moab", "מוֹאָב", "Moab", "fingerspelt once, then a point to the far left", "1:1",
          revised="M hand set down beyond the Dead Sea, at the far left"),
    Gloss("naomi", "נָעֳמִי", "Naomi, “pleasant”", "N hand strokes the cheek downwards", "1:2"),
    Gloss("elimelech", "אֱלִימֶלֶךְ", "Elimelech, “my God is king”", "E hand touches a crown", "1:2"),
    Gloss("ruth", "רוּת", "Ruth", "R hand held to the heart", "1:4"),
    Gloss("orpah", "עׇרְפָּה", "Orpah", "O hand brushes back over the shoulder", "1:4"),
    Gloss("the-lord", "יהוה", "the LORD, the name of God", "flat hand rises, then rests above", "1:6"),
    Gloss("hesed", "חֶסֶד", "hesed: loyal love that does more than duty asks",
          "LOVE, held, turned to the other", "1:8",
          revised="LOVE and FIRM in one movement, held longer, turned to the other"),
    Gloss("cling", "דָּבַק", "cling, stay close", "hooked fingers lock and do not move", "1:14"),
    Gloss("mara", "מָרָא", "Mara, “bitter”", "Naomi's name sign, broken off; BITTER at the throat", "1:20"),
    Gloss("almighty", "שַׁדַּי", "the Almighty", "STRONG, above the head", "1:20"),
    Gloss("barley", "שְׂעֹרִים", "barley", "GRAIN with long whiskers drawn by two fingers", "1:22"),
    Gloss("boaz", "בֹּעַז", "Boaz", "B hand at the upper arm: a man of means", "2:1"),
    Gloss("glean", "לִקֵּט", "glean: gather what harvesters leave",
          "pinch low, put into the bent arm, repeat", "2:2",
          revised="HARVESTERS pass first; then pinch low behind them, again and again"),
    Gloss("chance", "מִקְרֶה", "what happens to meet one", "two index fingers meet by accident", "2:3",
          dropped="shown by the face of the narrator, not by a sign"),
    Gloss("wing", "כָּנָף", "wing, hem of a garment", "bent hand spreads over the other", "2:12"),
    Gloss("ephah", "אֵיפָה", "ephah, a basket of about 22 litres",
          "arms around a full basket, knees give way", "2:17"),
    Gloss("redeemer", "גֹּאֵל", "redeemer (go'el): the relative who buys back",
          "BUY, then take to one's side", "2:20",
          revised="RELATIVE first; then BUY BACK, and set down on its own land"),
    Gloss("wheat", "חִטִּים", "wheat", "GRAIN, plump, thumb rubs the fingertips", "2:23"),
    Gloss("threshing-floor", "גֹּרֶן", "threshing floor", "a flat circle; GRAIN thrown into the wind", "3:2"),
    Gloss("woman-of-worth", "אֵשֶׁת חַיִל", "a woman of worth", "WOMAN, STRONG, RESPECTED", "3:11"),
    Gloss("gate", "שַׁעַר", "town gate, where matters are settled",
          "two doors open; people sit down inside", "4:1"),
    Gloss("elders", "זְקֵנִים", "elders", "BEARD, plural, in a half circle", "4:2"),
    Gloss("sandal", "נַעַל", "sandal", "pull it from the foot and hand it over", "4:7"),
    Gloss("obed", "עוֹבֵד", "Obed, “one who serves”", "O hand carried by the open palm", "4:17"),
    Gloss("david", "דָּוִד", "David", "crown, then the swing of a sling", "4:17"),
)  # fmt: skip


class Note(NamedTuple):
    """A comment on a passage: its verse, its author and its outcome."""

    verse: str
    author: str  # a key of TEAM
    text: str
    response: str = ""
    outcome: str = "resolved"  # or "deleted" or "open"

    @property
    def stage(self) -> str:
        """The check in which it was raised; it follows from the author."""
        return {"zl": "community", "mb": "consultant"}.get(self.author, "team")


NOTES = (
    Note("1:1", "wk", "The first take looks like a court of law. These judges led and rescued.",
         "LEADER now, moving from tribe to tribe."),
    Note("1:2", "mb", "Ephrathites: spell it once; after that the place in the signing space will do."),
    Note("1:5", "zl", "Naomi is left alone, and the next scene comes too fast. Three viewers lost her.",
         "Two seconds of stillness added; only Naomi's side of the space stays filled."),
    Note("1:6", "mb", "It is the LORD who has come to help his people. The draft shows only rain.",
         "The sentence now starts with him; the rain is gone."),
    Note("1:8", "wk", "First hesed of the book. It returns in 2:20 and 3:10 and must look the same there."),
    Note("1:12", "zl", "Two viewers believed that Naomi expects a child. Her question reads as a fact.",
         "Raised brows held to the end of 1:13, and a shake of the head."),
    Note("1:14", "wk", "Orpah kisses, Ruth clings (דָּבַק). The same verb is in 2:8, 2:21 and 2:23."),
    Note("1:16", "ti", "Four lines in parallel: same rhythm, same places, in each of them?",
         "Yes. Practised with a metronome; it helps to breathe between the lines."),
    Note("1:16", "nb", "Four lines in parallel, keep the rhythm.", outcome="deleted"),
    Note("1:17", "mb", "An oath: she calls down something on herself. The draft only says “truly”.",
         "Open hand across the throat, then up to the LORD. Viewers understood at once."),
    Note("1:20", "zl", "Everybody liked that the name sign breaks off halfway.", outcome="deleted"),
    Note("1:21", "wk", "Full and empty belong together: one movement, turned around.",
         "Done: the same arc, back again with open hands."),
    Note("1:22", "zl", "When is the barley harvest? Nobody here grows any.",
         "About April. SPRING goes before it."),
    Note("2:1", "wk",
         "Boaz is ish gibbor chayil; Ruth will be eshet chayil in 3:11. Let one echo the other."),
    Note("2:2", "zl", "People from the town took gleaning for stealing.",
         "Show the harvesters leave the edge of the field, as the law of Moses asks (Leviticus 19:9)."),
    Note("2:3", "ti", "“As it happened”: fate? That is what the sign CHANCE means to my grandmother.",
         "No sign, then. The narrator's face tells that he knows more."),
    Note("2:7", "mb", "The Hebrew at the end is hard. State the choice in the notes for readers.",
         outcome="open"),
    Note("2:10", "zl", "The bow was taken for prayer. She bows to Boaz.",
         "Eyes stay on Boaz, hands do not fold."),
    Note("2:12", "mb", "Wings here, and the same word in 3:9 for his garment. Keep the handshape.",
         "Same hand in both. In 3:9 she shows him his own words."),
    Note("2:14", "zl", "Is it wine that she dips the bread in?", "Sour wine: SOUR goes before it."),
    Note("2:14", "dc", "Sound of traffic from 00:14 on. Nobody will hear it, but the lamp shakes too.",
         outcome="deleted"),
    Note("2:17", "zl", "A basket is not enough: how much did she carry? A lot?",
         "She bends under it, and two steps later Naomi's eyes go wide."),
    Note("2:20", "mb", "First go'el. It needs three things: a relative, a price, the land.",
         "RELATIVE, BUY BACK, set down on its own land. Longer, but it carries chapter 4."),
    Note("2:20", "wk", "Whose hesed, the LORD's or that of Boaz? The Hebrew leaves it open.",
         "We leave it open as well: the look goes up and stays in the middle.",
         outcome="open"),
    Note("2:23", "wk", "Barley and then wheat: seven weeks go by. Show it, for chapter 3 needs it."),
    Note("3:1", "ti", "Rest (מָנוֹחַ), the thought of 1:9. Same sign, and HOME after it."),
    Note("3:3", "zl", "Young viewers thought that this was already the wedding.",
         "WASH and OIL are smaller now and the cloak is plain."),
    Note("3:7", "mb", "Keep it as reserved as the Hebrew is. No smile, no pause at his feet.",
         "Recorded again with Wanjirũ and Miryam on the call."),
    Note("3:9", "zl", "“Spread your wing”: a blanket against the cold?",
         "Now it takes up 2:12 and ends in TAKE TO WIFE."),
    Note("3:11", "wk", "People of the gate: the town's opinion counts. GATE, then ALL, then KNOW."),
    Note("3:12", "nb", "Put the nearer redeemer to the left and let him stay there until 4:8.",
         "Marked on the floor with tape."),
    Note("3:15", "mb",
         "Six of what? The text gives no unit. Do not make it six ephahs: nobody could lift it.",
         "SIX, and a scooping hand of no special size."),
    Note("3:15", "mb", "Who went into town, he or she? Manuscripts differ. A footnote will do.",
         outcome="open"),
    Note("4:1", "wk", "Peloni almoni, “so-and-so”: he gets no name, and that is on purpose.",
         "No name sign. A pointing hand that does not quite look at him."),
    Note("4:5", "mb", "Field and widow come together. In the draft they are two separate offers.",
         "One hand holds the field while the other brings Ruth to it."),
    Note("4:6", "zl", "Why does he say no? They want to know what he would lose.",
         "His own children's share: shown as a heap that becomes smaller."),
    Note("4:7", "nb", "The narrator explains an old custom. I step half a pace back for it.",
         "Works. Do the same in 4:18."),
    Note("4:8", "zl", "A sandal as a signature: clear after 4:7, thank you.", outcome="deleted"),
    Note("4:11", "ti", "Name signs of Rachel and Leah: take those of the Genesis team.",
         "Asked; they agree."),
    Note("4:12", "mb", "Perez and Tamar need one sentence of background outside of the text.",
         outcome="open"),
    Note("4:15", "zl", "“Better than seven sons” made a whole table of grandmothers clap."),
    Note("4:17", "mb", "It is the women of the neighbourhood who name him. Let them act together."),
    Note("4:18", "wk", "Ten generations: one step along the shoulder line for each of them.",
         "Perez at the far left, David in the centre."),
    Note("4:22", "zl", "Hold DAVID at the end. Then everybody knows what the story was for.",
         "Held for a second and a half."),
)  # fmt: skip
