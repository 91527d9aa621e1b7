-- Berths on the north quay and how deep the water is there.
SELECT brth_id, dpth_m FROM brth WHERE quay = 'North';
-- Do we have ships under the Norwegian flag? Name each.
SELECT vsl_nm FROM VSL WHERE flg = 'Norway';
-- When was the oldest hull in the register built?
SELECT min(blt) FROM VSL;
-- Total quay cranes in the whole port?
SELECT sum(CraneQty) FROM brth;
-- Calls that were announced and then never arrived: just the call numbers.
SELECT call_no FROM PortCall WHERE ata IS NULL;
-- Which vessels in the register have never been scheduled here?
SELECT v.vsl_nm FROM VSL AS v LEFT JOIN PortCall AS p ON p.imo = v.imo WHERE p.call_no IS NULL;
-- How many arrivals came in later than announced, and how many came in earlier? Two numbers, in that order.
SELECT sum(ata > eta), sum(ata < eta) FROM PortCall WHERE ata IS NOT NULL;
-- The longest stay of any ship, in hours between actual arrival and departure, rounded to one decimal.
SELECT round(max(24 * (julianday(atd) - julianday(ata))), 1) FROM PortCall;
-- I want the average time alongside for each berth that ships have used and left, rounded to whole hours. Berth code next to the figure.
SELECT brth_id, round(avg(24 * (julianday(atd) - julianday(ata)))) FROM PortCall WHERE atd IS NOT NULL GROUP BY brth_id;
-- Imports against exports: the letter I or O and the tonnage beside it.
SELECT io, sum(t) FROM crg_ln GROUP BY io;
-- In one row, please: tonnes in, tonnes out, over everything we ever handled.
SELECT sum(CASE WHEN io = 'I' THEN t ELSE 0 END), sum(CASE WHEN io = 'O' THEN t ELSE 0 END) FROM crg_ln;
-- Which commodities leave us (O) in greater tonnage than they come in (I)?
SELECT cmdty FROM crg_ln GROUP BY cmdty HAVING sum(CASE WHEN io = 'O' THEN t ELSE 0 END) > sum(CASE WHEN io = 'I' THEN t ELSE 0 END);
-- Hazardous stuff: what different commodities carry that mark?
SELECT DISTINCT cmdty FROM crg_ln WHERE haz = 1;
-- Which tug pulls hardest? I mean bollard pull.
SELECT tug_nm FROM tug ORDER BY bp_t DESC LIMIT 1;
-- Idle tugs, those without a single job on file.
SELECT tug_nm FROM tug WHERE tug_id NOT IN (SELECT tug FROM TugJob);
-- Minutes worked by each tug on arrivals and on departures, side by side, leaving out a tug without jobs. Show the tug's name first.
SELECT g.tug_nm, sum(CASE WHEN j.leg = 'ARR' THEN j.mins ELSE 0 END), sum(CASE WHEN j.leg = 'DEP' THEN j.mins ELSE 0 END) FROM TugJob AS j JOIN tug AS g ON g.tug_id = j.tug GROUP BY g.tug_id;
-- Full names of pilots holding grade 1.
SELECT "full name" FROM pilot WHERE grd = 1;
-- Somebody asked which pilot handled the most calls that arrived. Who, and how many?
SELECT p."full name", count(*) FROM PortCall AS c JOIN pilot AS p ON p.lic = c.plt_lic WHERE c.ata IS NOT NULL GROUP BY p.lic ORDER BY count(*) DESC LIMIT 1;
-- How many arrivals were made with no pilot on board?
SELECT count(*) FROM PortCall WHERE ata IS NOT NULL AND plt_lic IS NULL;
-- Ships longer than 250 metres and built from 2010 on. Name, length.
SELECT vsl_nm, loa_m FROM VSL WHERE loa_m > 250 AND blt >= 2010;
-- At which calls was the hull within ten metres of the berth's maximum length? Call numbers.
SELECT c.call_no FROM PortCall AS c JOIN VSL AS v ON v.imo = c.imo JOIN brth AS b ON b.brth_id = c.brth_id WHERE b.max_loa - v.loa_m <= 10;
-- What's the mean gross tonnage per type of vessel?
SELECT typ, avg(gt) FROM VSL GROUP BY typ;
-- Types whose biggest ship is over 80000 gross tonnage while the smallest stays under 20000.
SELECT typ FROM VSL GROUP BY typ HAVING max(gt) > 80000 AND min(gt) < 20000;
-- For every month of actual arrival, how many calls? Use two-digit month numbers and skip the calls that never arrived.
SELECT strftime('%m', ata), count(*) FROM PortCall WHERE ata IS NOT NULL GROUP BY strftime('%m', ata);
-- Which agents have more than twenty calls in the log, arrived or not? Agent and number.
SELECT agt, count(*) FROM PortCall GROUP BY agt HAVING count(*) > 20;
-- Any vessel that has been at three or more different berths? Show names.
SELECT v.vsl_nm FROM PortCall AS c JOIN VSL AS v ON v.imo = c.imo WHERE c.ata IS NOT NULL GROUP BY v.imo HAVING count(DISTINCT c.brth_id) >= 3;
-- Heaviest single parcel of cargo by direction: for I and O the largest tonnage on a line.
SELECT io, max(t) FROM crg_ln GROUP BY io;
-- Ships bigger (gross tonnage) than the average of their own type. Names.
SELECT a.vsl_nm FROM VSL AS a WHERE a.gt > (SELECT avg(b.gt) FROM VSL AS b WHERE b.typ = a.typ);
-- Was hazardous cargo, in or out, ever handled at a quay other than the oil pier? List those call numbers once.
SELECT DISTINCT c.call_no FROM PortCall AS c JOIN crg_ln AS g ON g.call_no = c.call_no JOIN brth AS b ON b.brth_id = c.brth_id WHERE g.haz = 1 AND b.quay <> 'Oil pier';
-- Arrivals in the first quarter of 2023, going by the actual time. How many?
SELECT count(*) FROM PortCall WHERE ata >= '2023-01-01' AND ata < '2023-04-01';
-- Owner unknown, either left blank or entered as N/A: which ships?
SELECT vsl_nm FROM VSL WHERE ownr IS NULL OR ownr = 'N/A';
-- Percentage of arrived calls handled by the agent Maris, one decimal.
SELECT round(100.0 * sum(agt = 'Maris') / count(*), 1) FROM PortCall WHERE ata IS NOT NULL;
-- On average, how much tug time does a call need that takes tugs at all? Add up the minutes per call first.
SELECT avg(m) FROM (SELECT sum(mins) AS m FROM TugJob GROUP BY call_no);
-- Order the tugs from newest to oldest in service, with the year.
SELECT tug_nm, svc_from FROM tug ORDER BY svc_from DESC;
-- The ship Ursa Minor: which cargoes has she carried through here, and in what total tonnage each (whole tonnes, rounded)?
SELECT g.cmdty, round(sum(g.t)) FROM crg_ln AS g JOIN PortCall AS c ON c.call_no = g.call_no JOIN VSL AS v ON v.imo = c.imo WHERE v.vsl_nm = 'Ursa Minor' GROUP BY g.cmdty;
-- Calls with import cargo and export cargo both on the same visit, how many are there?
SELECT count(*) FROM PortCall AS c WHERE EXISTS (SELECT 1 FROM crg_ln AS a WHERE a.call_no = c.call_no AND a.io = 'I') AND EXISTS (SELECT 1 FROM crg_ln AS b WHERE b.call_no = c.call_no AND b.io = 'O');
-- Berths nobody has been planned for.
SELECT b.brth_id FROM brth AS b WHERE NOT EXISTS (SELECT 1 FROM PortCall AS c WHERE c.brth_id = b.brth_id);
-- Who was the last to sail from berth S3? Vessel name and departure time.
SELECT v.vsl_nm, c.atd FROM PortCall AS c JOIN VSL AS v ON v.imo = c.imo WHERE c.brth_id = 'S3' ORDER BY c.atd DESC LIMIT 1;
