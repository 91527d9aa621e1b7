-- Who are the Japanese artists in our collection?
SELECT artist_name FROM artist WHERE nationality = 'Japanese';
-- What are all the different techniques used in our pieces?
SELECT DISTINCT medium FROM artwork;
-- How many objects are in storage right now?
SELECT count(*) FROM artwork WHERE on_display = 0;
-- How big is the largest hall, in square metres?
SELECT max(area) FROM gallery;
-- Which works have never been valued for insurance?
SELECT name FROM artwork WHERE value_keur IS NULL;
-- Which pieces date from the eighteenth century, that is, from 1700 up to 1799?
SELECT name FROM artwork WHERE year_made BETWEEN 1700 AND 1799;
-- Give the name and the year of every bronze.
SELECT name, year_made FROM artwork WHERE medium = 'bronze';
-- What is our oldest object called?
SELECT name FROM artwork ORDER BY year_made ASC LIMIT 1;
-- How are the artists spread over the movements?
SELECT movement, count(*) FROM artist GROUP BY movement;
-- For every borrowing museum, how long does a loan last on average?
SELECT borrower, avg(days) FROM loan GROUP BY borrower;
-- How many works by French artists do we hold?
SELECT count(*) FROM artwork AS T1 JOIN artist AS T2 ON T1.artist_id = T2.id WHERE T2.nationality = 'French';
-- Which works can a visitor find on the top storey, number 3?
SELECT T1.name FROM artwork AS T1 JOIN gallery AS T2 ON T1.gallery_id = T2.gallery_id WHERE T2.floor = 3;
-- Show the rooms with climate control that are smaller than 300 square metres.
SELECT title FROM gallery WHERE climate_controlled = 1 AND area < 300;
-- Rank the rooms by size, starting with the most spacious; give name and size.
SELECT title, area FROM gallery ORDER BY area DESC;
-- Which museums borrowed from us more than twenty times?
SELECT borrower FROM loan GROUP BY borrower HAVING count(*) > 20;
-- How much did the Prado pay us in total?
SELECT sum(fee) FROM loan WHERE borrower = 'Prado';
-- Which artworks have never left the house on loan?
SELECT name FROM artwork WHERE artwork_id NOT IN (SELECT artwork_id FROM loan);
-- Which rooms are smaller than the average room?
SELECT title FROM gallery WHERE area < (SELECT avg(area) FROM gallery);
-- What technique do we own the most pieces of?
SELECT medium FROM artwork GROUP BY medium ORDER BY count(*) DESC LIMIT 1;
-- Which nationalities do we find among both Cubists and Romantics, that is, the movements Cubism and Romanticism?
SELECT nationality FROM artist WHERE movement = 'Cubism' INTERSECT SELECT nationality FROM artist WHERE movement = 'Romanticism';
-- Whose works are insured for the highest sum, counting all of them together?
SELECT T1.artist_name FROM artist AS T1 JOIN artwork AS T2 ON T1.id = T2.artist_id GROUP BY T1.id ORDER BY sum(T2.value_keur) DESC LIMIT 1;
-- Which artists had something lent to the Louvre? No repeats, please.
SELECT DISTINCT T1.artist_name FROM artist AS T1 JOIN artwork AS T2 ON T1.id = T2.artist_id JOIN loan AS T3 ON T2.artwork_id = T3.artwork_id WHERE T3.borrower = 'Louvre';
-- How many oil paintings are older than the average piece?
SELECT count(*) FROM artwork WHERE medium = 'oil' AND year_made < (SELECT avg(year_made) FROM artwork);
